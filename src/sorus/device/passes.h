// What is done to a model before it is printed. All of it keeps every output of integers to the bit.
#pragma once

#include "sorus/device/model.h"

namespace sorus::device {

/// Runs all passes in order.
void simplify(Model& model);

/// Renames (reshape, squeeze) go: their readers read the tensor itself.
void remove_renames(Model& model);
/// A line behind a sum of products goes into its weights (so does batch normalisation), a clamp behind most forms
/// into their bounds.
void fold_lines(Model& model);
/// Elements that are only moved to be read by a dense layer are read where they are: its weights move instead.
void fold_moves(Model& model);
/// Values around a tensor become padding of the window that reads it.
void fuse_pads(Model& model);
/// Functions of one element, one after the other, become one table if the first reads 8 bits and the last writes 8.
void fold_tables(Model& model);
/// Sums of products of integers become 8 bits where they are stored.
void fuse_rescales(Model& model);
/// An addition whose operand comes from a sum of products is made where that is stored.
void fuse_residuals(Model& model);
/// Finds the range of every channel. One that always has the same value is not computed if its readers can take the
/// value into their bias, and one that nobody reads neither; both go on through depthwise layers and pools.
void remove_channels(Model& model);

/// Not part of simplify: transposed convolutions become convolutions that make a block of the result's pixels at
/// once, as channels, which are then put in order. Kernels for convolutions are faster, but the result is there
/// twice. Returns whether there was any.
bool unfold_transposed(Model& model);

}  // namespace sorus::device
