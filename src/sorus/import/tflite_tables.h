// Converters of functions on int16, which have tables.
#pragma once

#include "sorus/import/tflite.h"

namespace sorus::importer::tflite {

/// LOGISTIC and TANH.
void curve_of_halves(Importer& f, const FileOp& op, bool is_tanh);
void softmax_of_halves(Importer& f, const FileOp& op);

}  // namespace sorus::importer::tflite
