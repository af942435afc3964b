#include "sorus/emit/fused_loop.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <unordered_map>

#include "sorus/base/error.h"
#include "sorus/emit/c_scalar.h"

namespace sorus {
namespace {

std::string storage_type(DType t) {
  switch (t) {
    case DType::bf16:
    case DType::f16:
      return "uint16_t";
    case DType::i32:
      return "int32_t";
    case DType::i16:
      return "int16_t";
    case DType::i8:
      return "int8_t";
    case DType::u8:
    case DType::boolean:
      return "uint8_t";
    default:
      return c_type(t);
  }
}

std::string loaded(DType stored, DType compute, const std::string& element) {
  if (is_half(stored)) return fmt::format("({})sorus_{}_to_f32({})", c_type(compute), short_name(stored), element);
  return stored == compute ? element : fmt::format("({})({})", c_type(compute), element);
}

std::string stored(DType type, DType compute, bool boolean, const std::string& value) {
  if (type == DType::boolean) return boolean ? value : fmt::format("({} != 0)", value);
  if (is_half(type)) return fmt::format("sorus_f32_to_{}((float){})", short_name(type), value);
  if (is_integral(type) && is_floating(compute)) return fmt::format("({})(int64_t){}", storage_type(type), value);
  return fmt::format("({}){}", storage_type(type), value);
}

std::string literal(const Scalar& s, DType compute) {
  ScalarFunction f{{}, {}, {compute == DType::i64 ? constant(s.to_int()) : constant(s.to_double())}};
  return print_c(f, compute, {}, {}).results[0];
}

std::string identity(Reduction r, DType t) {
  switch (r) {
    case Reduction::prod:
    case Reduction::all:
      return "1";
    case Reduction::max:
      return t == DType::i64 ? "INT64_MIN" : "-INFINITY";
    case Reduction::min:
      return t == DType::i64 ? "INT64_MAX" : "INFINITY";
    default:
      return "0";
  }
}

std::string combine(Reduction r, DType t, const std::string& a, const std::string& b) {
  switch (r) {
    case Reduction::sum:
      return fmt::format("{} + {}", a, b);
    case Reduction::prod:
      return fmt::format("{} * {}", a, b);
    case Reduction::max:
      return fmt::format("sorus_max_{}({}, {})", short_name(t), a, b);
    case Reduction::min:
      return fmt::format("sorus_min_{}({}, {})", short_name(t), a, b);
    case Reduction::any:
      return fmt::format("({} != 0) | ({} != 0)", a, b);
    default:
      return fmt::format("({} != 0) & ({} != 0)", a, b);
  }
}

class Printer {
 public:
  Printer(const FusedLoop& loop, std::string name) : loop_(loop), name_(std::move(name)) { plan(); }

  std::string print() {
    std::string text =
        fmt::format("void {}(char* const* buffers, int64_t row_begin, int64_t row_end, char* scratch) {{\n", name_);
    for (size_t b = 0; b < loop_.buffers.size(); ++b)
      text += fmt::format("  {0}* const b{1} = ({0}*)buffers[{1}];\n", storage_type(loop_.buffers[b]), b);
    text += fmt::format("  enum {{ C = {} }};\n", loop_.columns);
    int64_t offset = 0;
    for (size_t i = 0; i < loop_.values.size(); ++i) {
      const FusedValue& v = loop_.values[i];
      if (!kept_[i] && v.domain != Domain::column && v.domain != Domain::total) continue;
      text += fmt::format("  {0}* const s{1} = ({0}*)(scratch + {2});\n", c_type(v.compute), i, offset);
      offset += slot_bytes(i);
      if (v.domain == Domain::column)
        text += fmt::format("  for (int64_t c = 0; c < C; ++c) s{}[c] = {};\n", i, identity(v.reduction, v.compute));
      if (v.domain == Domain::total) text += fmt::format("  *s{} = {};\n", i, identity(v.reduction, v.compute));
    }
    text += "  int64_t r0 = row_begin;\n";
    if (can_jam()) text += rows(kJam);
    text += rows(1);
    text += "  (void)scratch;\n}\n";
    if (loop_.has_partial_sums()) text += finish();
    return text;
  }

 private:
  bool is_full(size_t i) const { return loop_.values[i].domain == Domain::full; }
  // Sums along short rows wait for each other's additions, so several rows are summed side by side. They share what
  // they read in common (the vector that a matrix is multiplied by), and each is added up in the same order as alone.
  static constexpr int kJam = 4;
  bool can_jam() const {
    if (stages_ > 1 || loop_.rows < kJam || loop_.columns < 32 || loop_.has_partial_sums()) return false;
    double work = 0;
    int sums = 0;
    for (size_t i = 0; i < loop_.values.size(); ++i) {
      const FusedValue& v = loop_.values[i];
      if (!in_loop(i)) continue;
      if (stage_[i] != 0 || kept_[i] || (is_full(i) && v.output >= 0)) return false;
      work += sorus::flops(v.body->results[static_cast<size_t>(v.result)]);
      sums += v.reduction != Reduction::none;
    }
    return sums == 1 && work <= 4;
  }

  // The loop over rows, `lanes` at a time.
  std::string rows(int lanes) {
    lanes_ = lanes;
    std::string text = lanes == 1 ? "  for (; r0 < row_end; ++r0) {\n"
                                  : fmt::format("  for (; r0 + {0} <= row_end; r0 += {0}) {{\n", lanes);
    for (int lane = 0; lane < lanes; ++lane) {
      if (lane) text += fmt::format("    const int64_t r{0} = r0 + {0};\n", lane);
      for (auto& [access, variable] : row_offsets_)
        text += fmt::format("    const int64_t {}_{} = {};\n", variable, lane, with_row(access, lane));
    }
    for (int stage = 0; stage <= stages_; ++stage) {
      for (lane_ = 0; lane_ < lanes; ++lane_) text += row_values(stage);  // names the values that the loop reads
      text += row_loop(stage);
    }
    return text + "  }\n";
  }

  static std::string with_row(std::string text, int lane) {
    for (size_t at; (at = text.find('$')) != std::string::npos;) text.replace(at, 1, fmt::format("r{}", lane));
    return text;
  }

  // Values that a loop over columns computes, as opposed to those between loops.
  bool in_loop(size_t i) const {
    const FusedValue& v = loop_.values[i];
    return v.domain == Domain::full || v.reduction != Reduction::none;
  }

  int64_t slot_bytes(size_t i) const {
    const FusedValue& v = loop_.values[i];
    int64_t n = v.domain == Domain::total ? 1 : loop_.columns;
    return (n * static_cast<int64_t>(size_of(v.compute)) + 63) / 64 * 64;
  }

  // Which stage computes a value, and which full values are read again in a later one.
  void plan() {
    size_t n = loop_.values.size();
    stage_.assign(n, 0);
    kept_.assign(n, false);
    cost_.assign(n, 0);
    for (size_t i = 0; i < n; ++i) {
      const FusedValue& v = loop_.values[i];
      double cost = sorus::flops(v.body->results[static_cast<size_t>(v.result)]);
      for (const FusedInput& in : v.inputs) {
        if (in.kind == FusedInput::Kind::buffer) {
          offset_of(in);
          continue;
        }
        if (in.kind != FusedInput::Kind::value) continue;
        size_t k = static_cast<size_t>(in.index);
        const FusedValue& from = loop_.values[k];
        // A reduced value is there only after its loop.
        stage_[i] = std::max(stage_[i], stage_[k] + (from.reduction != Reduction::none && in_loop(i) ? 1 : 0));
        if (from.reduction != Reduction::none && !in_loop(i)) stage_[i] = std::max(stage_[i], stage_[k] + 1);
        if (from.domain == Domain::full) cost += cost_[k];
      }
      cost_[i] = cost;
      stages_ = std::max(stages_, stage_[i]);
    }
    // Cheap values are computed again, the others kept.
    for (size_t i = 0; i < n; ++i)
      for (const FusedInput& in : loop_.values[i].inputs) {
        if (in.kind != FusedInput::Kind::value) continue;
        size_t k = static_cast<size_t>(in.index);
        if (is_full(k) && in_loop(i) && stage_[i] > stage_[k] && cost_[k] > 3) kept_[k] = true;
      }
  }

  std::string offset_of(const FusedInput& in) {
    std::string index;
    int64_t below = loop_.rows;
    bool linear = true;
    int64_t unit = in.access.rows.empty() ? 0 : in.access.rows.back().stride, expected = unit;
    for (size_t d = in.access.rows.size(); d-- > 0;) {
      linear &= in.access.rows[d].stride == expected;
      expected *= in.access.rows[d].size;
    }
    if (linear) {
      index = fmt::format("$ * INT64_C({})", unit);
    } else {
      for (const RowAccess::Dim& d : in.access.rows) {
        below /= d.size;
        if (d.stride == 0) continue;
        index += fmt::format("{}($ / {} % {}) * INT64_C({})", index.empty() ? "" : " + ", below, d.size, d.stride);
      }
      if (index.empty()) index = "0";
    }
    if (in.offset) index = fmt::format("INT64_C({}) + {}", in.offset, index);
    for (auto& [text, variable] : row_offsets_)
      if (text == index) return variable;
    row_offsets_.emplace_back(index, fmt::format("o{}", row_offsets_.size()));
    return row_offsets_.back().second;
  }

  std::string element(const FusedInput& in, DType compute) {
    DType t = loop_.buffers[static_cast<size_t>(in.index)];
    std::string inner = in.access.inner == 0   ? ""
                        : in.access.inner == 1 ? " + c"
                                               : fmt::format(" + c * INT64_C({})", in.access.inner);
    std::string value = loaded(t, compute, fmt::format("b{}[{}_{}{}]", in.index, offset_of(in), lane_, inner));
    if (!hoisted_ || in.access.inner != 0) return value;
    // One element for the whole row: the compiler cannot know that no store changes it, so it is read before the
    // loop.
    auto [it, fresh] = hoisted_->try_emplace(value, fmt::format("h{}", hoisted_count_));
    if (fresh) {
      ++hoisted_count_;
      hoisted_text_ += fmt::format("    const {} {} = {};\n", c_type(compute), it->second, value);
    }
    return it->second;
  }
  std::string& name_of(size_t i) { return names_[i * kJam + static_cast<size_t>(lane_)]; }

  std::string argument(const FusedInput& in, DType compute) {
    if (in.kind == FusedInput::Kind::constant) return literal(in.constant, compute);
    if (in.kind == FusedInput::Kind::buffer) return element(in, compute);
    if (in.kind == FusedInput::Kind::column) return fmt::format("({})(int32_t)c", c_type(compute));
    const FusedValue& from = loop_.values[static_cast<size_t>(in.index)];
    std::string name = name_of(static_cast<size_t>(in.index));
    // What the program sees as an integer has no fraction, whatever it was computed in.
    if (is_integral(from.type) && is_floating(from.compute)) name = fmt::format("((int64_t){})", name);
    if (from.type == DType::boolean && !from.boolean()) name = fmt::format("({} != 0)", name);
    if (is_integral(from.type) && is_floating(from.compute)) return fmt::format("({}){}", c_type(compute), name);
    return from.compute == compute && !from.boolean() ? name : fmt::format("({})({})", c_type(compute), name);
  }

  // The lines that compute value i's body, and its name.
  std::string body(size_t i, const std::string& indent) {
    const FusedValue& v = loop_.values[i];
    std::vector<std::string> args, params;
    for (const FusedInput& in : v.inputs) args.push_back(argument(in, v.compute));
    for (const Attr& a : v.params) params.push_back(a.is_scalar() ? literal(a.scalar(), v.compute) : "0");
    ScalarFunction one{v.body->args, v.body->params, {v.body->results[static_cast<size_t>(v.result)]}};
    CBody c = print_c(one, v.compute, args, params, fmt::format("r{} * C + c", lane_),
                      lanes_ == 1 ? fmt::format("v{}_", i) : fmt::format("v{}_{}_", i, lane_));
    std::string text;
    for (const std::string& line : c.lines) text += indent + line + "\n";
    name_of(i) = c.results[0];
    return text;
  }

  // Computes a full value of an earlier stage again, or reads it back.
  std::string recall(size_t i, std::set<size_t>& done) {
    if (!done.insert(i).second) return "";
    const FusedValue& v = loop_.values[i];
    if (kept_[i]) {
      name_of(i) = fmt::format("s{}[c]", i);
      return "";
    }
    std::string text;
    for (const FusedInput& in : v.inputs)
      if (in.kind == FusedInput::Kind::value && is_full(static_cast<size_t>(in.index)))
        text += recall(static_cast<size_t>(in.index), done);
    return text + body(i, "      ");
  }

  std::string row_values(int stage) {
    std::string text;
    for (size_t i = 0; i < loop_.values.size(); ++i) {
      if (in_loop(i) || stage_[i] != stage) continue;
      text += body(i, "    ");
      const FusedValue& v = loop_.values[i];
      if (v.output >= 0)
        text += fmt::format("    b{}[r{}] = {};\n", v.output, lane_,
                            stored(loop_.buffers[static_cast<size_t>(v.output)], v.compute, v.boolean(), name_of(i)));
    }
    return text;
  }

  std::string row_loop(int stage) {
    // Stores come last: a result may lie where an operand of another one was.
    std::string before, inside, stores, after, clauses;
    bool any = false;
    std::unordered_map<std::string, std::string> hoisted;
    hoisted_ = &hoisted;
    hoisted_text_.clear();
    for (lane_ = 0; lane_ < lanes_; ++lane_) {
      std::set<size_t> done;
      for (size_t i = 0; i < loop_.values.size(); ++i) {
        if (!in_loop(i) || stage_[i] != stage) continue;
        any = true;
        const FusedValue& v = loop_.values[i];
        for (const FusedInput& in : v.inputs) {
          size_t k = static_cast<size_t>(in.index);
          if (in.kind == FusedInput::Kind::value && is_full(k) && stage_[k] < stage) inside += recall(k, done);
        }
        inside += body(i, "      ");
        std::string value = name_of(i);
        if (v.domain == Domain::full) {
          if (kept_[i]) inside += fmt::format("      s{}[c] = {};\n", i, value);
          if (v.output >= 0)
            stores +=
                fmt::format("      b{}[r{} * C + c] = {};\n", v.output, lane_,
                            stored(loop_.buffers[static_cast<size_t>(v.output)], v.compute, v.boolean(), value));
          continue;
        }
        if (v.domain == Domain::column) {
          inside += fmt::format("      s{0}[c] = {1};\n", i,
                                combine(v.reduction, v.compute, fmt::format("s{}[c]", i), value));
          continue;
        }
        std::string sum = lanes_ == 1 ? fmt::format("a{}", i) : fmt::format("a{}_{}", i, lane_);
        before += fmt::format("    {} {} = {};\n", c_type(v.compute), sum, identity(v.reduction, v.compute));
        if (v.reduction == Reduction::sum || v.reduction == Reduction::prod) {
          inside += fmt::format("      {} = {};\n", sum, combine(v.reduction, v.compute, sum, value));
          clauses += fmt::format(" reduction({}:{})", v.reduction == Reduction::sum ? "+" : "*", sum);
        } else if (v.reduction == Reduction::max || v.reduction == Reduction::min) {
          // The vector form of a maximum drops NaN: count them beside it.
          const char* less = v.reduction == Reduction::max ? ">" : "<";
          before += fmt::format("    int n{} = 0;\n", sum);
          inside += fmt::format("      {0} = {1} {2} {0} ? {1} : {0};\n", sum, value, less);
          inside += fmt::format("      n{0} |= {1} != {1};\n", sum, value);
          clauses += fmt::format(" reduction({0}:{1}) reduction(|:n{1})",
                                 v.reduction == Reduction::max ? "max" : "min", sum);
          if (v.compute != DType::i64) after += fmt::format("    if (n{0}) {0} = NAN;\n", sum);
        } else {
          inside += fmt::format("      {} = {};\n", sum, combine(v.reduction, v.compute, sum, value));
        }
        name_of(i) = sum;
        if (v.domain == Domain::total)
          after += fmt::format("    *s{0} = {1};\n", i, combine(v.reduction, v.compute, fmt::format("*s{}", i), sum));
        else if (v.output >= 0)
          after += fmt::format("    b{}[r{}] = {};\n", v.output, lane_,
                               stored(loop_.buffers[static_cast<size_t>(v.output)], v.compute, false, sum));
      }
    }
    hoisted_ = nullptr;
    before += hoisted_text_;
    if (!any) return "";
    // Buffers are the same memory or apart: no element depends on another.
    std::string pragma = clauses.empty() ? "#pragma GCC ivdep\n" : "#pragma omp simd" + clauses + "\n";
    return before + pragma + "    for (int64_t c = 0; c < C; ++c) {\n" + inside + stores + "    }\n" + after;
  }

  std::string finish() {
    std::string text =
        fmt::format("void {}_finish(char* const* buffers, char* const* scratch, int64_t threads) {{\n", name_);
    int64_t offset = 0;
    for (size_t i = 0; i < loop_.values.size(); ++i) {
      const FusedValue& v = loop_.values[i];
      bool partial = v.domain == Domain::column || v.domain == Domain::total;
      if (partial && v.output >= 0) {
        std::string type = c_type(v.compute);
        text += fmt::format("  for (int64_t c = 0; c < {}; ++c) {{\n    {} sum = {};\n",
                            v.domain == Domain::column ? loop_.columns : 1, type, identity(v.reduction, v.compute));
        text += fmt::format(
            "    for (int64_t t = 0; t < threads; ++t) {{\n      const {0} part = (({0}*)(scratch[t] + {1}))[c];\n",
            type, offset);
        text += fmt::format("      sum = {};\n    }}\n", combine(v.reduction, v.compute, "sum", "part"));
        DType t = loop_.buffers[static_cast<size_t>(v.output)];
        text += fmt::format("    (({}*)buffers[{}])[c] = {};\n  }}\n", storage_type(t), v.output,
                            stored(t, v.compute, false, "sum"));
      }
      if (partial || kept_[i]) offset += slot_bytes(i);
    }
    return text + "}\n";
  }

 public:
  int64_t scratch_bytes() const {
    int64_t total = 0;
    for (size_t i = 0; i < loop_.values.size(); ++i) {
      Domain d = loop_.values[i].domain;
      if (kept_[i] || d == Domain::column || d == Domain::total) total += slot_bytes(i);
    }
    return total;
  }

 private:
  const FusedLoop& loop_;
  std::string name_;
  std::vector<int> stage_;
  std::vector<bool> kept_;
  std::vector<double> cost_;
  int stages_ = 0;
  std::vector<std::pair<std::string, std::string>> row_offsets_;
  std::unordered_map<size_t, std::string> names_;  // by value and lane
  int lanes_ = 1, lane_ = 0;                       // rows that are computed side by side, and the one being printed
  std::unordered_map<std::string, std::string>* hoisted_ = nullptr;  // elements that a loop over columns reads once
  std::string hoisted_text_;
  int hoisted_count_ = 0;
};

}  // namespace

bool FusedValue::boolean() const {
  return body->results[static_cast<size_t>(result)]->is_boolean && reduction == Reduction::none;
}

int64_t FusedLoop::scratch_bytes() const { return Printer(*this, "").scratch_bytes(); }

bool FusedLoop::has_partial_sums() const {
  return std::any_of(values.begin(), values.end(),
                     [](const FusedValue& v) { return v.domain == Domain::column || v.domain == Domain::total; });
}

double FusedLoop::flops() const {
  double total = 0;
  for (const FusedValue& v : values) {
    double points = v.domain == Domain::row && v.reduction == Reduction::none ? 1.0 : static_cast<double>(columns);
    total +=
        points * static_cast<double>(rows) *
        (sorus::flops(v.body->results[static_cast<size_t>(v.result)]) + (v.reduction != Reduction::none ? 1 : 0));
  }
  return total;
}

double FusedLoop::bytes() const {
  double total = 0;
  std::set<int> read;
  for (const FusedValue& v : values) {
    if (v.output >= 0 && v.domain == Domain::full)
      total +=
          static_cast<double>(rows * columns) * static_cast<double>(size_of(buffers[static_cast<size_t>(v.output)]));
    for (const FusedInput& in : v.inputs)
      if (in.kind == FusedInput::Kind::buffer && read.insert(in.index).second)
        total += static_cast<double>(rows * (in.access.inner ? columns : 1)) *
                 static_cast<double>(size_of(buffers[static_cast<size_t>(in.index)]));
  }
  return total;
}

std::string print_fused_loop(const FusedLoop& loop, const std::string& name) { return Printer(loop, name).print(); }

}  // namespace sorus
