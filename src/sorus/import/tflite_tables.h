// Converters of functions that have tables: of one byte, of int16.
#pragma once

#include <functional>

#include "sorus/import/tflite.h"

namespace sorus::importer::tflite {

/// A function of one byte, by the table that the format makes of it.
void looked_up(Importer& f, const FileOp& op, const std::function<float(float)>& function);
void gelu_of_bytes(Importer& f, const FileOp& op);
/// uint8 on the scale of another tensor, as the format joins them.
Tensor on_scale_of(Importer& f, const Tensor& t, int from, int to);
/// LOGISTIC and TANH.
void curve_of_halves(Importer& f, const FileOp& op, bool is_tanh);
void softmax_of_halves(Importer& f, const FileOp& op);

}  // namespace sorus::importer::tflite
