#include "sorus/optim/optimizer.h"

#include <algorithm>
#include <array>

#include "sorus/autodiff/tape.h"
#include "sorus/ops.h"
#include "sorus/tensor/copy.h"

namespace sorus::optim {
namespace {

Tensor number(double v) { return Tensor::scalar(v, DType::f64); }
void write(const Tensor& t, double v) {
  *t.data<double>() = v;
  t.storage()->bump_version();
}

}  // namespace

Tensor Rule::initial_state(const ParameterGroup&, std::string_view, const Tensor& parameter) const {
  return Tensor::zeros(parameter.sizes(), parameter.dtype());
}

TensorList Rule::prepare(const ParameterGroup& g, const Tensor&) const {
  return {to(g.lr, g.scalar_type), to(g.weight_decay, g.scalar_type)};
}

Optimizer::Optimizer(const Rule& rule, const std::vector<Group>& groups, Settings defaults)
    : rule_(rule), defaults_(std::move(defaults)) {
  SORUS_CHECK(!groups.empty(), ValueError, "optimizer: there are no parameters");
  for (auto& [name, value] : defaults_) check_setting(name, value);
  rule_.check_settings(defaults_);
  for (const Group& g : groups) add_group(g);
  SORUS_CHECK(std::any_of(groups_.begin(), groups_.end(), [](const ParameterGroup& g) { return !g.slots.empty(); }),
              ValueError, "optimizer: there are no parameters");
}

void Optimizer::add_group(const Group& group) {
  ParameterGroup own;
  own.settings = defaults_;
  Settings given = group.settings;
  if (group.lr) given["lr"] = *group.lr;
  if (group.weight_decay) given["weight_decay"] = *group.weight_decay;
  for (auto& [name, value] : given) {
    SORUS_CHECK(defaults_.contains(name), KeyError, "optimizer: there is no setting '{}'", name);
    check_setting(name, value);
    own.settings[name] = value;
  }
  own.lr = number(own.settings.at("lr"));
  auto decay = own.settings.find("weight_decay");
  own.weight_decay = number(decay == own.settings.end() ? 0.0 : decay->second);
  own.clocks.push_back({Tensor::zeros(Shape{}, DType::i64), {}, nullptr});
  for (const Tensor& p : group.parameters) {
    SORUS_CHECK(p.defined() && is_floating(p.dtype()), TypeError,
                "optimizer: a parameter must be a floating-point tensor, not {}",
                p.defined() ? p.type().to_string() : "None");
    SORUS_CHECK(is_leaf(p), ValueError, "optimizer: cannot train {}, which is the result of '{}' and not a leaf",
                p.type().to_string(), producer_name(p));
    auto twice = [&](const Slot& s) { return s.parameter.is(p); };
    bool seen = std::any_of(own.slots.begin(), own.slots.end(), twice);
    for (const ParameterGroup& g : groups_) seen |= std::any_of(g.slots.begin(), g.slots.end(), twice);
    SORUS_CHECK(!seen, ValueError, "optimizer: a parameter {} is given twice", p.type().to_string());
    if (p.dtype() == DType::f64) own.scalar_type = DType::f64;
    own.slots.push_back({p, {}, 0, p.numel() == 0});
  }
  make_state(own);
  groups_.push_back(std::move(own));
}

const ParameterGroup& Optimizer::at(size_t group) const {
  SORUS_CHECK(group < groups_.size(), IndexError, "optimizer: group {} of {}", group, groups_.size());
  return groups_[group];
}

TensorList Optimizer::parameters(size_t group) const {
  TensorList out;
  for (const Slot& s : at(group).slots) out.push_back(s.parameter);
  return out;
}

void Optimizer::make_state(ParameterGroup& group) {
  for (Slot& s : group.slots) {
    auto names = rule_.state_names(group, s.parameter);
    if (s.unshaped && s.parameter.numel() > 0) {
      s.state.clear();
      s.unshaped = false;
    }
    while (s.state.size() < names.size())
      s.state.push_back(rule_.initial_state(group, names[s.state.size()], s.parameter));
  }
}

void Optimizer::check_setting(const std::string& name, double value) const {
  SORUS_CHECK(defaults_.contains(name), KeyError, "optimizer: there is no setting '{}'", name);
  SORUS_CHECK((name != "lr" && name != "weight_decay") || value >= 0, ValueError,
              "optimizer: {} must not be negative, found {}", name, value);
  rule_.check_setting(name, value);
}

void Optimizer::set(size_t group, const std::string& name, double value) {
  at(group);
  check_setting(name, value);
  SORUS_CHECK(
      !is_tracing(), Error,
      "optimizer: '{}' cannot be set while a step is being recorded; set it before or after the compiled step", name);
  ParameterGroup& g = groups_[group];
  if (g.settings[name] == value) return;
  g.settings[name] = value;
  if (name == "lr") return write(g.lr, value);
  if (name == "weight_decay")
    write(g.weight_decay, value);
  else
    ++constants_version_;
  make_state(g);
}

void Optimizer::set_lr(double lr) {
  for (size_t i = 0; i < groups_.size(); ++i) set(i, "lr", lr);
}

int64_t Optimizer::steps() const {
  int64_t most = 0;
  for (const ParameterGroup& g : groups_)
    for (const Clock& c : g.clocks) most = std::max(most, *c.step.data<int64_t>());
  return most;
}

// Where some parameters of a clock have a gradient and others do not, the former go on with a clock of their own.
void Optimizer::split_clocks(ParameterGroup& group) {
  if (!rule_.counts_steps(group)) return;
  size_t n = group.clocks.size();
  std::vector<std::pair<bool, bool>> seen(n);
  std::vector<bool> moving;
  for (const Slot& s : group.slots) {
    bool moves = grad_of(s.parameter).defined();
    moving.push_back(moves);
    (moves ? seen[s.clock].first : seen[s.clock].second) = true;
  }
  for (size_t c = 0; c < n; ++c) {
    if (!seen[c].first || !seen[c].second) continue;
    const Clock& old = group.clocks[c];
    SORUS_CHECK(!is_tracing() || old.advanced_by != &current_interpreter(), NotImplementedError,
                "optimizer: parameters lost their gradients between two steps of one recorded function");
    Clock fresh{Tensor::zeros(Shape{}, DType::i64), {}, nullptr};
    *fresh.step.data<int64_t>() = *old.step.data<int64_t>();
    for (size_t i = 0; i < group.slots.size(); ++i)
      if (group.slots[i].clock == c && moving[i]) group.slots[i].clock = group.clocks.size();
    group.clocks.push_back(std::move(fresh));
  }
}

void Optimizer::step(const Tensor& skip) {
  static const OpDef &add = find_op("add"), &select = find_op("where");
  GradMode off(false);
  std::vector<std::pair<Tensor, Tensor>> kept;  // what a step writes, and what it held before
  auto keep = [&](const Tensor& t) {
    if (skip.defined()) kept.emplace_back(t, clone(t));
  };
  for (ParameterGroup& g : groups_) {
    if (std::any_of(g.slots.begin(), g.slots.end(), [](const Slot& s) { return s.unshaped; })) make_state(g);
    split_clocks(g);
    bool counts = rule_.counts_steps(g);
    for (size_t c = 0; c < g.clocks.size(); ++c) {
      Clock& clock = g.clocks[c];
      bool moves = std::any_of(g.slots.begin(), g.slots.end(),
                               [&](const Slot& s) { return s.clock == c && grad_of(s.parameter).defined(); });
      if (!moves) continue;
      if (counts) keep(clock.step);
      if (counts) call_into(add, std::array{clock.step, Tensor::weak_scalar(1)}, {Attr(1)}, std::array{clock.step});
      clock.advanced_by = &current_interpreter();
      clock.scalars = rule_.prepare(g, clock.step);
      for (Slot& s : g.slots) {
        if (s.clock != c) continue;
        Tensor grad = grad_of(s.parameter);
        if (!grad.defined()) continue;
        keep(s.parameter.detach());
        for (const Tensor& t : s.state) keep(t);
        rule_.update(g, s, g.settings.at("maximize") != 0 ? neg(grad) : grad, clock.scalars);
      }
      clock.scalars.clear();
    }
  }
  for (auto& [now, before] : kept) call_into(select, std::array{skip, before, now}, {}, std::array{now});
}

void Optimizer::zero_grad() {
  for (ParameterGroup& g : groups_)
    for (Slot& s : g.slots) set_grad(s.parameter, {});
}

State Optimizer::state_of(bool initial) const {
  State out;
  size_t index = 0;
  for (size_t g = 0; g < groups_.size(); ++g) {
    const ParameterGroup& group = groups_[g];
    for (auto& [name, value] : group.settings) out.emplace(fmt::format("param_groups.{}.{}", g, name), number(value));
    for (const Slot& s : group.slots) {
      auto names = rule_.state_names(group, s.parameter);
      if (rule_.counts_steps(group)) {
        const Tensor& step = group.clocks[s.clock].step;
        out.emplace(fmt::format("state.{}.step", index),
                    Tensor::scalar(initial ? int64_t{0} : *step.data<int64_t>(), DType::i64));
      }
      for (size_t k = 0; k < names.size(); ++k)
        out.emplace(fmt::format("state.{}.{}", index, names[k]),
                    initial ? rule_.initial_state(group, names[k], s.parameter) : s.state[k]);
      ++index;
    }
  }
  return out;
}
State Optimizer::state_dict() const { return state_of(false); }
State Optimizer::initial_state_dict() const { return state_of(true); }

void Optimizer::load_state_dict(const State& state) {
  // Settings first: they decide which state there is.
  for (auto& [name, t] : state) {
    SORUS_CHECK(t.defined(), TypeError, "optimizer: '{}' is not a tensor", name);
    if (!name.starts_with("param_groups.")) continue;
    size_t dot = name.find('.', 13);
    size_t group = dot == std::string::npos ? groups_.size() : std::stoul("0" + name.substr(13, dot - 13));
    SORUS_CHECK(group < groups_.size(), ValueError, "optimizer: the state has '{}', but there are {} groups", name,
                groups_.size());
    set(group, name.substr(dot + 1), t.item().to_double());
  }
  State own = state_dict();
  std::string wrong;
  for (auto& [name, t] : own) {
    auto found = state.find(name);
    if (found == state.end())
      wrong += fmt::format("\n  missing: {} {}", name, t.type().to_string());
    else if (found->second.sizes() != t.sizes())
      wrong +=
          fmt::format("\n  {}: expected {}, found {}", name, t.type().to_string(), found->second.type().to_string());
  }
  for (auto& [name, t] : state)
    if (!own.contains(name)) wrong += fmt::format("\n  unexpected: {} {}", name, t.type().to_string());
  SORUS_CHECK(wrong.empty(), ValueError, "optimizer: the state does not fit:{}", wrong);
  size_t index = 0;
  for (ParameterGroup& group : groups_) {
    std::map<int64_t, size_t> clock_of;
    std::vector<Clock> clocks;
    for (Slot& s : group.slots) {
      int64_t step = rule_.counts_steps(group) ? state.at(fmt::format("state.{}.step", index)).item().to_int() : 0;
      auto [it, is_new] = clock_of.emplace(step, clocks.size());
      if (is_new) {
        // A recorded step holds the first counter; it stays the same tensor.
        Tensor counter = clocks.empty() ? group.clocks[0].step : Tensor::zeros(Shape{}, DType::i64);
        *counter.data<int64_t>() = step;
        counter.storage()->bump_version();
        clocks.push_back({counter, {}, nullptr});
      }
      s.clock = it->second;
      auto names = rule_.state_names(group, s.parameter);
      for (size_t k = 0; k < names.size(); ++k)
        copy_elements(s.state[k], state.at(fmt::format("state.{}.{}", index, names[k])));
      ++index;
    }
    if (!clocks.empty()) group.clocks = std::move(clocks);
  }
}

}  // namespace sorus::optim
