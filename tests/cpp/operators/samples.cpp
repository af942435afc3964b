#include "operators/samples.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <unordered_map>

#include "sorus/graph/call.h"
#include "sorus/graph/index.h"
#include "sorus/graph/scalar.h"
#include "sorus/tensor/copy.h"

namespace sorus::harness {
namespace {

std::vector<std::string> words_of(const std::string& text) {
  std::vector<std::string> out;
  bool quoted = false;
  for (char c : text) {
    if (c == '"') quoted = !quoted;
    if (c == ' ' && !quoted) {
      if (out.empty() || !out.back().empty()) out.emplace_back();
      continue;
    }
    if (out.empty()) out.emplace_back();
    out.back() += c;
  }
  std::erase_if(out, [](const std::string& w) { return w.empty(); });
  return out;
}

bool is_letter(char c) { return c >= 'a' && c <= 'z'; }
bool is_word(char c) { return is_letter(c) || (c >= '0' && c <= '9') || c == '_' || (c >= 'A' && c <= 'Z'); }

// Calls f(position) for letters that stand alone, outside of quotes.
template <class F>
void for_letters(const std::string& text, F f) {
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '"') quoted = !quoted;
    bool alone = (i == 0 || !is_word(text[i - 1])) && (i + 1 == text.size() || !is_word(text[i + 1]));
    if (!quoted && is_letter(text[i]) && alone) f(i);
  }
}

int64_t size_of_letter(char c, const Sizes& sizes) {
  auto it = sizes.find(c);
  return it != sizes.end() ? it->second : 2 + (c - 'a') % 4;
}

std::string with_sizes(const std::string& text, const Sizes& sizes) {
  std::string out;
  size_t from = 0;
  for_letters(text, [&](size_t i) {
    out += text.substr(from, i - from) + std::to_string(size_of_letter(text[i], sizes));
    from = i + 1;
  });
  return out + text.substr(from);
}

struct Range {
  double low, high;
};
std::optional<Range> range_of(char kind) {
  switch (kind) {
    case 'f':
      return Range{-2, 2};
    case 'p':
      return Range{0.3, 2};
    case 'u':
      return Range{-0.9, 0.9};
    case 'q':
      return Range{1.1, 3};
    case 'o':
      return Range{0.1, 0.9};
    default:
      return std::nullopt;
  }
}

Tensor tensor_of(const std::string& word, const Sizes& sizes, std::mt19937& random) {
  size_t bracket = word.find('[');
  SORUS_CHECK(bracket != std::string::npos && bracket > 0 && word.back() == ']', ValueError,
              "sample: '{}' is not kind[shape]", word);
  Shape shape = Attr::parse(with_sizes(word.substr(bracket), sizes)).ints();
  std::string kind = word.substr(0, bracket);
  if (auto range = range_of(kind[0]); range && kind.size() == 1) {
    Tensor t = Tensor::empty(shape, DType::f64);
    std::uniform_real_distribution<double> d(range->low, range->high);
    for (int64_t i = 0; i < t.numel(); ++i) t.data<double>()[i] = d(random);
    return t;
  }
  if (kind == "b") {
    Tensor t = Tensor::empty(shape, DType::boolean);
    for (int64_t i = 0; i < t.numel(); ++i) t.data<bool>()[i] = random() % 2 != 0;
    return t;
  }
  if (kind == "s8" || kind == "u8" || kind == "s16" || kind == "s32") {
    DType type = kind == "s8" ? DType::i8 : kind == "u8" ? DType::u8 : kind == "s16" ? DType::i16 : DType::i32;
    Tensor wide = Tensor::empty(shape, DType::i64), t = Tensor::empty(shape, type);
    int bits = kind == "s16" ? 16 : kind == "s32" ? 20 : 8;  // sums of products of bytes have some 20
    for (int64_t i = 0; i < t.numel(); ++i)
      wide.data<int64_t>()[i] =
          static_cast<int64_t>(random() >> (32 - bits)) - (kind == "u8" ? 0 : int64_t{1} << (bits - 1));
    copy_elements(t, wide);
    return t;
  }
  SORUS_CHECK(((kind[0] == 'i' || kind[0] == 'w') && kind.size() > 1) || kind == "k", ValueError,
              "sample: there is no kind '{}'", kind);
  int64_t below = 1000;
  if (kind != "k") below = is_letter(kind[1]) ? size_of_letter(kind[1], sizes) : std::stoll(kind.substr(1));
  Tensor t = Tensor::empty(shape, DType::i64);
  for (int64_t i = 0; i < t.numel(); ++i)
    t.data<int64_t>()[i] = below > 0 ? static_cast<int64_t>(random() % static_cast<uint64_t>(below)) : 0;
  if (kind[0] == 'w')
    for (int64_t i = 0; i < t.numel(); ++i) t.data<int64_t>()[i] = std::max<int64_t>(2, t.data<int64_t>()[i]);
  return t;
}

// ---- samples from definitions -------------------------------------------------------------------------------------

// Attributes without a default, as far as their type or name says enough.
std::optional<std::string> attributes(const Signature& s) {
  std::string out;
  double next = -0.5;  // low, then high
  for (const Param& p : s.params) {
    if (p.is_tensor() || p.has_default) continue;
    if (p.type == ParamType::real || p.type == ParamType::scalar) {
      out += fmt::format(" {}={}", p.name, next);
      next += 1.2;
    } else if (p.type == ParamType::boolean) {
      out += fmt::format(" {}=true", p.name);
    } else if (p.type == ParamType::integer && p.name == "dim") {
      out += " dim=0";
    } else if (p.type == ParamType::dtype) {
      out += fmt::format(" {}=f32", p.name);
    } else {
      return std::nullopt;
    }
  }
  return out;
}

// Tensors of the given shapes in turn; the kind of masks is b.
std::string tensors(const Signature& s, const std::vector<std::string>& shapes, char kind) {
  std::string out;
  size_t i = 0;
  for (const Param& p : s.params) {
    if (!p.is_tensor()) continue;
    int count = p.type == ParamType::tensor_list ? 2 : 1;
    for (int k = 0; k < count; ++k) {
      out += fmt::format("{}{}{}", out.empty() ? "" : " ", p.promotes ? kind : 'b', shapes[i % shapes.size()]);
      ++i;
    }
  }
  return out;
}

bool all_finite(const TensorList& out) {
  for (const Tensor& t : out) {
    if (!is_floating(t.dtype())) continue;
    Tensor c = call_one(find_op("contiguous"), {call_one(find_op("to"), {t}, {Attr(DType::f64)})});
    for (int64_t i = 0; i < c.numel(); ++i)
      if (!std::isfinite(c.data<double>()[i])) return false;
  }
  return true;
}

// Whether the line can be computed, with finite results.
bool works(const OpDef& op, const std::string& text) {
  try {
    Sample s = make_sample(op, text);
    return all_finite(call(op, s.inputs, s.attrs));
  } catch (const Error&) {
    return false;
  }
}

std::vector<std::string> elementwise_samples(const OpDef& op) {
  auto rest = attributes(op.signature);
  if (!rest || op.signature.tensors == 0) return {};
  for (char kind : {'f', 'p', 'u', 'q'}) {
    std::vector<std::string> out;
    for (const std::vector<std::string>& shapes :
         {std::vector<std::string>{"[a,b]"}, {"[a,b,d]", "[b,1]", "[d]"}, {"[]"}, {"[1,d]", "[c,1]", "[]"}})
      out.push_back(tensors(op.signature, shapes, kind) + *rest);
    if (std::all_of(out.begin(), out.end(), [&](const std::string& t) { return works(op, t); })) return out;
  }
  return {};
}

// Each axis of the notation is a letter; indices that are more than an axis need lines of their own.
std::vector<std::string> index_samples(const OpDef& op) {
  const IndexRule& rule = *op.index;
  auto rest = attributes(op.signature);
  if (rule.derived != IndexRule::Derived::no || !rule.definitions.empty() || !rule.bounds.empty()) return {};
  std::vector<std::string> shapes(static_cast<size_t>(op.signature.tensors), "?");
  bool dots = false, group = false;
  for (const IndexAccess& a : rule.accesses) {
    std::string shape;
    for (const IndexDim& d : a.dims) {
      if (!shape.empty()) shape += ",";
      if (d.kind == IndexDim::Kind::ellipsis) {
        dots = true;
        shape += "x";
      } else if (d.kind == IndexDim::Kind::group) {
        group = true;
        shape += "y,z";
      } else {
        bool plain =
            d.terms.size() == 1 && d.terms[0].axis >= 0 && d.terms[0].factors.empty() && !d.terms[0].negative;
        if (!plain) return {};
        shape += static_cast<char>('a' + d.terms[0].axis);
      }
    }
    shapes[static_cast<size_t>(a.tensor)] = "[" + shape + "]";
  }
  if (std::find(shapes.begin(), shapes.end(), "?") != shapes.end()) return {};
  std::vector<std::string> out;
  bool optional = false;
  for (const Param& p : op.signature.params) optional |= p.is_tensor() && p.optional;
  for (bool leave_out : {false, true}) {
    if (leave_out && !optional) continue;
    std::string line;
    int i = 0;
    for (const Param& p : op.signature.params) {
      if (!p.is_tensor()) continue;
      line += fmt::format("{}{}", line.empty() ? "" : " ",
                          leave_out && p.optional ? "none" : "f" + shapes[static_cast<size_t>(i)]);
      ++i;
    }
    if (group) {
      out.push_back(line + " dim=[1]");
      out.push_back(line + " dim=[0,-1] keepdim=true");
      out.push_back(line + " dim=none");
      continue;
    }
    if (!rest) return {};
    out.push_back(line + *rest);
    if (dots) {  // no leading dimension, and two of them
      std::string none = line, two = line;
      for (size_t at; (at = none.find("x,")) != std::string::npos;) none.erase(at, 2);
      for (size_t at = 0; (at = two.find("x,", at)) != std::string::npos; at += 4) two.insert(at, "w,");
      out.push_back(none + *rest);
      out.push_back(two + *rest);
    }
  }
  for (const std::string& line : out)
    if (!works(op, line)) return {};
  return out;
}

std::vector<std::string> plain_samples(const OpDef& op) {
  auto rest = attributes(op.signature);
  if (!rest || op.signature.tensors == 0) return {};
  for (const Param& p : op.signature.params)
    if (p.is_tensor() && !p.promotes) return {};  // a mask may be anything: truth values, indices, lengths
  std::vector<std::string> out;
  for (const char* shape : {"[a,b]", "[a,b,c]", "[d]"})
    for (char kind : {'f', 'p', 'u'})
      if (std::string line = tensors(op.signature, {shape}, kind) + *rest; works(op, line)) {
        out.push_back(line);
        break;
      }
  return out;
}

}  // namespace

std::string letters_of(const std::string& text) {
  std::string out;
  auto note = [&](char c) {
    if (out.find(c) == std::string::npos) out += c;
  };
  for_letters(text, [&](size_t i) { note(text[i]); });
  for (const std::string& w : words_of(text))
    if (w.size() > 2 && w[0] == 'i' && is_letter(w[1]) && w[2] == '[') note(w[1]);
  return out;
}

Sample make_sample(const OpDef& op, const std::string& text, const Sizes& sizes, unsigned seed) {
  Sample s;
  s.text = text;
  std::mt19937 random(seed);
  const Signature& signature = op.signature;
  std::vector<bool> given(static_cast<size_t>(signature.attrs), false);
  s.attrs.resize(static_cast<size_t>(signature.attrs));
  for (int i = 0; i < signature.attrs; ++i) {
    const Param& p = signature.attr_param(i);
    s.attrs[static_cast<size_t>(i)] = p.default_value;
    given[static_cast<size_t>(i)] = p.has_default;
  }
  for (const std::string& w : words_of(text)) {
    size_t equals = w.find('=');
    if (w == "phase") {
      s.free_phase = true;
      continue;
    }
    if (equals == std::string::npos) {
      bool none = w == "none";
      s.inputs.push_back(none ? Tensor() : tensor_of(w, sizes, random));
      s.variable.push_back(!none && range_of(w[0]) && w[1] == '[');
      continue;
    }
    int at = signature.attr_index(w.substr(0, equals));
    s.attrs[static_cast<size_t>(at)] = Attr::parse(with_sizes(w.substr(equals + 1), sizes));
    given[static_cast<size_t>(at)] = true;
  }
  for (int i = 0; i < signature.attrs; ++i)
    SORUS_CHECK(given[static_cast<size_t>(i)], ValueError, "sample '{}' of {}: '{}' has no default", text, op.name(),
                signature.attr_param(i).name);
  if (signature.list_at < 0)  // optional tensors at the end may be left out
    while (static_cast<int>(s.inputs.size()) < signature.tensors) {
      s.inputs.emplace_back();
      s.variable.push_back(false);
    }
  return s;
}

const std::vector<std::string>& samples_of(const OpDef& op) {
  static std::unordered_map<const OpDef*, std::vector<std::string>> known;
  auto [it, fresh] = known.try_emplace(&op);
  if (!fresh) return it->second;
  std::vector<std::string>& lines = it->second;
  lines = table_samples(op.name());
  if (lines.empty() && op.each) lines = elementwise_samples(op);
  if (lines.empty() && op.index) lines = index_samples(op);
  if (lines.empty() && !op.each && !op.index && !op.random && !op.value_shaped) lines = plain_samples(op);
  return lines;
}

const OpDef* tested_by(const OpDef& op) {
  const auto& lines = samples_of(op);
  return lines.size() == 1 && lines[0].starts_with("via ") ? &find_op(lines[0].substr(4)) : nullptr;
}

bool has_free_values(const OpDef& op) { return op.random || op.signature.base.find("empty") != std::string::npos; }

TensorList in_type(const Sample& s, DType type) {
  TensorList out;
  for (size_t i = 0; i < s.inputs.size(); ++i) {
    const Tensor& t = s.inputs[i];
    out.push_back(t);
    if (!s.variable[i]) continue;
    Tensor v = Tensor::empty(t.sizes(), is_complex(type) ? DType::c128 : DType::f64);
    for (int64_t k = 0; k < t.numel(); ++k) {
      double x = t.data<double>()[k];
      if (is_complex(type))
        v.data<std::complex<double>>()[k] = {x, 0.7 * std::sin(5 * x)};
      else if (type == DType::boolean)
        v.data<double>()[k] = x > 0 && std::fmod(x, 0.2) > 0.05;
      else if (is_integral(type))
        v.data<double>()[k] = type == DType::u8 ? std::ceil(std::abs(x)) : x > 0 ? std::ceil(x) : std::floor(x);
      else
        v.data<double>()[k] = x;
    }
    Tensor to = Tensor::empty(t.sizes(), type);
    copy_elements(to, v);
    out.back() = to;
  }
  return out;
}

TensorList in_layout(TensorSpan inputs, int layout) {
  TensorList out;
  for (const Tensor& t : inputs) {
    out.push_back(t);
    if (!t.defined() || t.dim() == 0 || layout == 0) continue;
    Geometry g{t.sizes(), {}, 0};
    size_t rank = g.sizes.size();
    g.strides = Shape(rank, 0);
    int64_t step = layout == 2 ? 2 : 1;
    if (layout == 1) {
      for (size_t d = 0; d < rank; step *= std::max<int64_t>(g.sizes[d++], 1)) g.strides[d] = step;
    } else {
      for (size_t d = rank; d-- > 0; step *= std::max<int64_t>(g.sizes[d], 1)) g.strides[d] = step;
      if (layout == 2) g.offset = 3;
    }
    Tensor memory = Tensor::zeros(Shape{step + 4}, t.dtype());
    Tensor view = memory.with_geometry(g);
    copy_elements(view, t);
    if (layout == 3) {
      size_t d = 0;
      while (d < rank && g.sizes[d] <= 1) ++d;
      if (d < rank) {
        g.strides[d] = 0;
        view = memory.with_geometry(g);
      }
    }
    out.back() = view;
  }
  return out;
}

std::vector<std::string> operator_names() {
  std::vector<std::string> out;
  for (const OpDef* op : all_ops()) out.push_back(op->name());
  return out;
}
std::string test_name(const std::string& op) {
  std::string s = op;
  for (char& c : s)
    if (c == '.' || c == ':') c = '_';
  return s;
}

}  // namespace sorus::harness
