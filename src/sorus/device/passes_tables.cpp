// Chains of functions of one element as one table; see passes.h.
#include <map>
#include <numeric>

#include <fmt/format.h>

#include "sorus/device/passes.h"

namespace sorus::device {
namespace {

bool byte(Element e) { return e == Element::i8 || e == Element::u8; }

Tensor looked_up(const TableForm& f, const Tensor& at) {
  Tensor t = Tensor::empty(at.sizes(), DType::i8);
  for (int64_t i = 0; i < t.numel(); ++i)
    t.data<int8_t>()[i] = f.table[static_cast<size_t>(at.data<int8_t>()[i] + 128)];
  return t;
}

// What a tensor holds for each of the 256 values of another one.
struct Known {
  int source = -1;
  Tensor values;
};

}  // namespace

void fold_tables(Model& model) {
  std::map<int, Known> known;
  int folded = 0;
  for (Step& step : model.steps) {
    auto* table = std::get_if<TableForm>(&step.form);
    if (step.residual || step.inputs.size() != 1 || !(table || step.unary)) continue;
    Known from;
    auto it = known.find(step.inputs[0]);
    if (it != known.end()) {
      from = it->second;
    } else if (byte(model.tensors[static_cast<size_t>(step.inputs[0])].type)) {
      from = {step.inputs[0], Tensor::empty({256}, DType::i8)};
      std::iota(from.values.data<int8_t>(), from.values.data<int8_t>() + 256, static_cast<int8_t>(-128));
    } else {
      continue;
    }
    Known result{from.source, table ? looked_up(*table, from.values) : step.unary(from.values)};
    known[step.output] = result;
    const DeviceTensor& to = model.tensors[static_cast<size_t>(step.output)];
    if (!byte(to.type) || (table && from.source == step.inputs[0])) continue;
    TableForm f;
    f.elements = to.elements();
    f.table.assign(result.values.data<int8_t>(), result.values.data<int8_t>() + 256);
    step.form = std::move(f), step.inputs = {from.source};
    ++folded;
  }
  if (!folded) return;
  model.notes.push_back(fmt::format("{} function(s) of one element folded into the table of the next", folded));
  // What only the folded steps read is not computed.
  for (size_t s = model.steps.size(); s-- > 0;)
    if (!model.is_output(model.steps[s].output) && model.readers(model.steps[s].output).empty())
      model.steps.erase(model.steps.begin() + static_cast<std::ptrdiff_t>(s));
}

}  // namespace sorus::device
