#include "sorus/device/passes.h"

#include <algorithm>

#include <fmt/format.h>

namespace sorus::device {
namespace {

void erase_steps(Model& model, const std::vector<char>& gone) {
  std::vector<Step> kept;
  for (size_t s = 0; s < model.steps.size(); ++s)
    if (!gone[s]) kept.push_back(std::move(model.steps[s]));
  model.steps = std::move(kept);
}

}  // namespace

void remove_renames(Model& model) {
  std::vector<char> gone(model.steps.size(), 0);
  int count = 0;
  for (size_t s = 0; s < model.steps.size(); ++s) {
    Step& step = model.steps[s];
    if (!std::holds_alternative<RenameForm>(step.form)) continue;
    int from = step.inputs[0], to = step.output;
    int writer = model.writer(from);
    if (model.is_output(to)) {
      // The result keeps its own tensor, so that its shape stays what the user sees; the writer writes it directly.
      if (writer < 0 || model.is_output(from)) {  // two results, or an input that is one: copied
        step.form = MoveForm{{{model.tensors[static_cast<size_t>(from)].elements()}, {1}, 0}};
        continue;
      }
      model.steps[static_cast<size_t>(writer)].output = to;
      for (Step& other : model.steps)
        for (int& in : other.inputs)
          if (in == from) in = to;
    } else {
      for (Step& other : model.steps)
        for (int& in : other.inputs)
          if (in == to) in = from;
    }
    gone[s] = 1;
    ++count;
  }
  erase_steps(model, gone);
  if (count) model.notes.push_back(fmt::format("{} change(s) of shape removed", count));
}

void fuse_rescales(Model& model) {
  std::vector<char> gone(model.steps.size(), 0);
  for (size_t s = 0; s < model.steps.size(); ++s) {
    Step& step = model.steps[s];
    auto* form = std::get_if<RescaleForm>(&step.form);
    int writer = form ? model.writer(step.inputs[0]) : -1;
    if (writer < 0 || model.readers(step.inputs[0]).size() != 1 || model.is_output(step.inputs[0])) continue;
    Step& from = model.steps[static_cast<size_t>(writer)];
    auto* conv = std::get_if<ConvForm>(&from.form);
    if (!conv || !conv->sums || form->channels != conv->window.out_c) continue;
    conv->sums = false, conv->rescale = form->rescale;
    from.output = step.output;
    from.notes.push_back("change of scale " + step.name + " fused");
    gone[s] = 1;
  }
  erase_steps(model, gone);
}

void fuse_residuals(Model& model) {
  std::vector<char> gone(model.steps.size(), 0);
  for (size_t s = 0; s < model.steps.size(); ++s) {
    Step& step = model.steps[s];
    auto* add = std::get_if<AddForm>(&step.form);
    if (!add || step.inputs[0] == step.inputs[1]) continue;
    // The operand computed last: the other is there already.
    int best = -1, slot = 0;
    for (int k = 0; k < 2; ++k) {
      int writer = model.writer(step.inputs[static_cast<size_t>(k)]);
      if (writer < 0 || gone[static_cast<size_t>(writer)]) continue;
      const Step& from = model.steps[static_cast<size_t>(writer)];
      auto* conv = std::get_if<ConvForm>(&from.form);
      if (!conv || from.residual || conv->is_float != add->is_float || conv->sums || conv->halves ||
          model.is_output(from.output) || model.readers(from.output).size() != 1)
        continue;
      if (writer > best) best = writer, slot = k;
    }
    if (best < 0) continue;
    Step& conv = model.steps[static_cast<size_t>(best)];
    AddForm form = *add;
    if (slot == 1) {  // the sum of products is operand `a` of the fused form
      if (form.negate_b) continue;
      std::swap(form.zero_a, form.zero_b);
      std::swap(form.multiplier_a, form.multiplier_b);
      std::swap(form.shift_a, form.shift_b);
    }
    Step fused = std::move(conv);
    fused.inputs.push_back(step.inputs[static_cast<size_t>(1 - slot)]);
    fused.output = step.output;
    fused.residual = form;
    fused.notes.push_back("addition " + step.name + " fused");
    gone[static_cast<size_t>(best)] = 1;
    model.steps[s] = std::move(fused);  // at the later place, where both operands are there
  }
  erase_steps(model, gone);
}

void simplify(Model& model) {
  remove_renames(model);
  fuse_rescales(model);
  fold_tables(model);
  fold_lines(model);
  fold_moves(model);
  fuse_pads(model);
  fuse_residuals(model);
  remove_channels(model);
}

}  // namespace sorus::device
