#include "sorus/graph/op.h"

#include <algorithm>
#include <deque>
#include <mutex>
#include <unordered_map>

#include "sorus/graph/index.h"
#include "sorus/graph/scalar.h"

namespace sorus {
namespace {

struct Registry {
  std::recursive_mutex mutex;
  std::deque<OpDef> ops;  // addresses stay
  std::deque<std::unique_ptr<OpDef>> derived;
  std::unordered_map<std::string, const OpDef*> by_name;
  Derivation derivation;
  TypesRule index_types;

  static Registry& instance() {
    static Registry* r = new Registry;
    return *r;
  }
};

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      size_t next = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])});
      diagonal = row[j];
      row[j] = next;
    }
  }
  return row[b.size()];
}

std::vector<std::string> words(std::string_view text) {
  std::vector<std::string> out;
  for (size_t i = 0; i < text.size();) {
    size_t j = std::min(text.find(' ', i), text.size());
    if (j > i) out.emplace_back(text.substr(i, j - i));
    i = j + 1;
  }
  return out;
}

}  // namespace

OpBuilder op(std::string_view signature) {
  Registry& r = Registry::instance();
  std::lock_guard lock(r.mutex);
  OpDef& def = r.ops.emplace_back();
  def.signature = Signature::parse(signature);
  bool fresh = r.by_name.emplace(def.name(), &def).second;
  SORUS_CHECK(fresh, Error, "operator {} is registered twice", def.name());
  return OpBuilder(def);
}

const OpDef* find_op_or_null(std::string_view name) {
  Registry& r = Registry::instance();
  std::lock_guard lock(r.mutex);
  std::string key(name);
  if (auto it = r.by_name.find(key); it != r.by_name.end()) return it->second;
  size_t colon = name.rfind(':');
  if (colon == std::string_view::npos || !r.derivation) return nullptr;
  const OpDef* base = find_op_or_null(name.substr(0, colon));
  if (!base) return nullptr;
  std::unique_ptr<OpDef> made = r.derivation(*base, name.substr(colon + 1));
  if (!made) return nullptr;
  made->derived_from = base;
  const OpDef* p = made.get();
  r.derived.push_back(std::move(made));
  r.by_name.emplace(std::move(key), p);
  return p;
}

const OpDef& find_op(std::string_view name) {
  if (const OpDef* def = find_op_or_null(name)) return *def;
  std::vector<std::pair<size_t, std::string>> near;
  for (const OpDef* def : all_ops()) near.emplace_back(edit_distance(name, def->name()), def->name());
  std::sort(near.begin(), near.end());
  std::string hint;
  for (size_t i = 0; i < std::min<size_t>(near.size(), 3); ++i) hint += (i ? ", " : "") + near[i].second;
  fail<KeyError>("there is no operator '{}'{}", name, hint.empty() ? "" : "; the nearest names are " + hint);
}

std::vector<const OpDef*> all_ops() {
  Registry& r = Registry::instance();
  std::lock_guard lock(r.mutex);
  std::vector<const OpDef*> out;
  for (const OpDef& def : r.ops) out.push_back(&def);
  return out;
}

void set_derivation(Derivation derivation) { Registry::instance().derivation = std::move(derivation); }

void set_index_types(TypesRule rule) { Registry::instance().index_types = std::move(rule); }
const TypesRule& index_types_rule() { return Registry::instance().index_types; }

const Attr& TypeCall::attr(std::string_view name) const { return attrs[op.signature.attr_index(name)]; }
const Attr& Call::attr(std::string_view name) const { return attrs[op.signature.attr_index(name)]; }
const Attr& GradCall::attr(std::string_view name) const { return attrs[op.signature.attr_index(name)]; }

OpBuilder& OpBuilder::each(std::string_view body, std::string_view result) {
  std::vector<std::string> args, params;
  for (const Param& p : def_.signature.params) (p.is_tensor() ? args : params).push_back(p.name);
  def_.each_text = body;
  def_.result_text = result;
  def_.each = std::make_shared<ScalarFunction>(parse_scalar(body, args, params));
  return *this;
}
OpBuilder& OpBuilder::index(std::string_view notation, std::string_view result) {
  def_.index_text = notation;
  def_.result_text = result;
  def_.index = parse_index(notation, def_.signature);
  return *this;
}
OpBuilder& OpBuilder::view(ViewRule rule) {
  def_.view = std::move(rule);
  return *this;
}
OpBuilder& OpBuilder::body(BodyRule rule) {
  def_.body = std::move(rule);
  return *this;
}
OpBuilder& OpBuilder::expand(BodyRule rule) {
  def_.expand = std::move(rule);
  return *this;
}
OpBuilder& OpBuilder::kernel(Kernel k, bool takes_strides) {
  def_.kernel = std::move(k);
  def_.kernel_takes_strides = takes_strides;
  return *this;
}
OpBuilder& OpBuilder::eager_kernel(Kernel k) {
  def_.kernel_is_eager = true;
  return kernel(std::move(k));
}
OpBuilder& OpBuilder::writes_strided() {
  def_.kernel_writes_strides = true;
  return *this;
}
OpBuilder& OpBuilder::memory_order(std::vector<std::vector<int>> order) {
  def_.memory_order = std::move(order);
  return *this;
}
OpBuilder& OpBuilder::inset(InsetRule rule) {
  def_.inset = std::move(rule);
  return *this;
}
OpBuilder& OpBuilder::joins(JoinRule rule) {
  def_.joins = std::move(rule);
  return *this;
}
OpBuilder& OpBuilder::loop(LoopRule rule) {
  def_.loop = std::move(rule);
  return *this;
}
OpBuilder& OpBuilder::types(TypesRule rule) {
  def_.types = std::move(rule);
  return *this;
}
OpBuilder& OpBuilder::gradient(GradientRule rule, std::string_view saves) {
  def_.gradient = std::move(rule);
  def_.gradient_saves = words(saves);
  return *this;
}
OpBuilder& OpBuilder::not_differentiable() {
  def_.differentiable = false;
  return *this;
}
OpBuilder& OpBuilder::axes(std::string_view notation) {
  def_.axes_text = notation;
  return *this;
}
OpBuilder& OpBuilder::cost(CostRule rule) {
  def_.cost = std::move(rule);
  return *this;
}
OpBuilder& OpBuilder::exchange(ExchangeRule rule, BesideRule beside) {
  def_.exchange = std::move(rule);
  def_.beside = std::move(beside);
  return *this;
}
OpBuilder& OpBuilder::autocast(Autocast kind) {
  def_.autocast = kind;
  return *this;
}
OpBuilder& OpBuilder::random() {
  def_.random = true;
  return *this;
}
OpBuilder& OpBuilder::value_shaped() {
  def_.value_shaped = true;
  return *this;
}
OpBuilder& OpBuilder::doc(std::string_view text) {
  def_.doc = text;
  return *this;
}

Shape result_strides(const OpDef& op, size_t index, const Shape& shape) {
  if (index >= op.memory_order.size() || op.memory_order[index].size() != shape.size())
    return contiguous_strides(shape);
  Shape strides(shape.size(), 1);
  int64_t step = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    auto d = static_cast<size_t>(op.memory_order[index][i]);
    strides[d] = step;
    step *= std::max<int64_t>(shape[d], 1);
  }
  return strides;
}

}  // namespace sorus
