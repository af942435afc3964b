// What kernels for the DSP extension share (kernels_dsp.cpp, which opens with how they work).
#pragma once

#include "sorus/device/kernel.h"

namespace sorus::device::dsp {

/// From the sum to 8 bits, as `$FN_round`; begins with a line break.
extern const char* const kRound;

void set(Values& v, const char* name, int64_t value);
/// Constants and tables that all of them have: bias, factors, rounding, the residual addition.
void common(Values& v, Prepared& p, const Step& step, const ConvForm& f, int64_t pad);
/// Windows of 3x3 over one channel at a time.
Prepared depthwise(const Step& step, const ConvForm& f);

}  // namespace sorus::device::dsp
