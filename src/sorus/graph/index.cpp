#include "sorus/graph/index.h"

#include <cctype>
#include <map>

#include "sorus/base/error.h"

namespace sorus {
namespace {

constexpr std::string_view kReductions[] = {"none", "sum", "prod", "max", "min", "any", "all"};

// Recursive descent over the notation. Accesses inside the bodies are cut out and replaced by their tensor's name, so
// that the scalar language never hears of indices.
class Parser {
 public:
  Parser(std::string_view text, const Signature& signature) : text_(text), signature_(signature) {}

  std::shared_ptr<const IndexRule> parse() {
    rule_ = std::make_shared<IndexRule>();
    rule_->text = text_;
    rule_->tensor_count = signature_.tensors;
    std::string_view head = text_, where;
    if (size_t w = text_.find(" where "); w != std::string_view::npos) {
      head = text_.substr(0, w);
      where = text_.substr(w + 7);
    }
    for (std::string_view item : split(where)) declare(item);
    size_t equals = find_equals(head);
    std::string_view right = head.substr(equals + 1);
    find_reduction(right);
    s_ = head.substr(0, equals);
    at_ = 0;
    name();
    expect('[');
    rule_->result.dims = dims(true);
    parse_bodies(right);
    for (std::string_view item : split(where)) define(item);
    finish();
    return rule_;
  }

 private:
  [[noreturn]] void wrong(const std::string& what) const {
    fail<ValueError>("index notation '{}' of {}: {}", text_, signature_.name, what);
  }

  static std::vector<std::string_view> split(std::string_view s) {
    std::vector<std::string_view> out;
    int depth = 0;
    size_t begin = 0;
    for (size_t i = 0; i <= s.size(); ++i) {
      if (i < s.size() && (s[i] == '(' || s[i] == '[')) ++depth;
      if (i < s.size() && (s[i] == ')' || s[i] == ']')) --depth;
      if (i == s.size() || (s[i] == ',' && depth == 0)) {
        std::string_view item = s.substr(begin, i - begin);
        while (!item.empty() && item.front() == ' ') item.remove_prefix(1);
        if (!item.empty()) out.push_back(item);
        begin = i + 1;
      }
    }
    return out;
  }
  size_t find_equals(std::string_view s) const {
    int depth = 0;
    for (size_t i = 0; i < s.size(); ++i) {
      if (s[i] == '[') ++depth;
      if (s[i] == ']') --depth;
      if (s[i] == '=' && depth == 0) return i;
    }
    wrong("expected y[..] = body");
  }

  // ---- characters ----
  void spaces() {
    while (at_ < s_.size() && s_[at_] == ' ') ++at_;
  }
  bool peek(char c) {
    spaces();
    return at_ < s_.size() && s_[at_] == c;
  }
  bool take(char c) {
    if (!peek(c)) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!take(c)) wrong(fmt::format("expected '{}' before '{}'", c, s_.substr(std::min(at_, s_.size()))));
  }
  static bool starts_name(char c) { return std::isalpha(static_cast<unsigned char>(c)) || c == '_'; }
  static bool in_name(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; }
  std::string name() {
    spaces();
    size_t begin = at_;
    if (at_ < s_.size() && starts_name(s_[at_]))
      while (at_ < s_.size() && in_name(s_[at_])) ++at_;
    if (begin == at_) wrong(fmt::format("expected a name before '{}'", s_.substr(at_)));
    return std::string(s_.substr(begin, at_ - begin));
  }
  int64_t number() {
    spaces();
    int64_t v = 0;
    while (at_ < s_.size() && std::isdigit(static_cast<unsigned char>(s_[at_]))) v = v * 10 + (s_[at_++] - '0');
    return v;
  }

  // ---- names ----
  int find_tensor(const std::string& n) const {
    int i = 0;
    for (const Param& p : signature_.params)
      if (p.is_tensor()) {
        if (p.name == n) return i;
        ++i;
      }
    return -1;
  }
  int find_attr(const std::string& n) const {
    int i = 0;
    for (const Param& p : signature_.params)
      if (!p.is_tensor()) {
        if (p.name == n) return i;
        ++i;
      }
    return -1;
  }
  int find_definition(const std::string& n) const {
    for (size_t i = 0; i < rule_->definitions.size(); ++i)
      if (rule_->definitions[i].first == n) return static_cast<int>(i);
    return -1;
  }
  int axis(const std::string& n) {
    for (size_t i = 0; i < rule_->axes.size(); ++i)
      if (rule_->axes[i] == n) return static_cast<int>(i);
    rule_->axes.push_back(n);
    rule_->reduced.push_back(false);
    return static_cast<int>(rule_->axes.size()) - 1;
  }

  // ---- sizes ----
  SizeExpr size_sum() {
    SizeExpr left = size_product();
    for (;;) {
      auto kind = take('+') ? SizeExpr::Kind::add : take('-') ? SizeExpr::Kind::sub : SizeExpr::Kind::number;
      if (kind == SizeExpr::Kind::number) return left;
      SizeExpr right = size_product();
      left = SizeExpr{kind, 0, 0, {std::move(left), std::move(right)}};
    }
  }
  SizeExpr size_product() {
    SizeExpr left = size_factor();
    for (;;) {
      auto kind = take('*')   ? SizeExpr::Kind::mul
                  : take('/') ? SizeExpr::Kind::div
                  : take('%') ? SizeExpr::Kind::mod
                              : SizeExpr::Kind::number;
      if (kind == SizeExpr::Kind::number) return left;
      SizeExpr right = size_factor();
      left = SizeExpr{kind, 0, 0, {std::move(left), std::move(right)}};
    }
  }
  SizeExpr size_factor() {
    spaces();
    if (take('(')) {
      SizeExpr e = size_sum();
      expect(')');
      return e;
    }
    if (at_ < s_.size() && std::isdigit(static_cast<unsigned char>(s_[at_]))) {
      SizeExpr e;
      e.number = number();
      return e;
    }
    return size_name(name());
  }
  SizeExpr size_name(const std::string& n) {
    SizeExpr e;
    if ((n == "min" || n == "max") && take('(')) {
      e.kind = n == "min" ? SizeExpr::Kind::min : SizeExpr::Kind::max;
      e.operands.push_back(size_sum());
      expect(',');
      e.operands.push_back(size_sum());
      expect(')');
      return e;
    }
    if (n == "size" && take('(')) {
      e.kind = SizeExpr::Kind::size;
      std::string tensor = name();
      e.index = find_tensor(tensor);
      if (e.index < 0) wrong(fmt::format("size of '{}', which is no tensor", tensor));
      expect(',');
      bool negative = take('-');
      e.number = negative ? -number() : number();
      expect(')');
      return e;
    }
    if (int a = find_attr(n); a >= 0) {
      e.kind = SizeExpr::Kind::attr;
      e.index = a;
      e.number = -1;
      if (take('[')) {
        e.number = number();
        expect(']');
      }
      return e;
    }
    if (int d = find_definition(n); d >= 0) {
      e.kind = SizeExpr::Kind::definition;
      e.index = d;
      return e;
    }
    e.kind = SizeExpr::Kind::axis;  // its extent
    e.index = axis(n);
    return e;
  }

  // ---- where ----
  // Definitions have to be known before the indices are read, so names come first and their values later.
  void declare(std::string_view item) {
    size_t equals = item.find('=');
    if (equals == std::string_view::npos) return;
    std::string n(item.substr(0, equals));
    while (!n.empty() && n.back() == ' ') n.pop_back();
    rule_->definitions.emplace_back(n, SizeExpr{});
  }
  void define(std::string_view item) {
    s_ = item;
    at_ = 0;
    std::string n = name();
    if (take('<')) {
      int a = axis(n);
      rule_->bounds.emplace_back(a, size_sum());
    } else {
      expect('=');
      rule_->definitions[static_cast<size_t>(find_definition(n))].second = size_sum();
    }
    spaces();
    if (at_ != s_.size()) wrong(fmt::format("cannot read '{}'", s_.substr(at_)));
  }

  // ---- accesses ----
  // After '['.
  std::vector<IndexDim> dims(bool result) {
    std::vector<IndexDim> out;
    if (take(']')) return out;
    do {
      IndexDim d;
      spaces();
      if (s_.substr(at_).starts_with("..")) {
        at_ += 2;
        d.kind = IndexDim::Kind::ellipsis;
        out.push_back(std::move(d));
        continue;
      }
      bool negative = take('-');
      do {
        IndexTerm t = term();
        t.negative = negative;
        if (t.axis == kGroup) {
          d.kind = IndexDim::Kind::group;
        } else {
          d.terms.push_back(std::move(t));
        }
        negative = peek('-');
      } while (take('+') || take('-'));
      if (take('?')) d.may_leave = true;
      if (result && take(':')) d.size = std::make_shared<SizeExpr>(size_sum());
      out.push_back(std::move(d));
    } while (take(','));
    expect(']');
    return out;
  }
  static constexpr int kGroup = -7;
  IndexTerm term() {
    IndexTerm t;
    do {
      spaces();
      if (at_ < s_.size() && starts_name(s_[at_])) {
        std::string n = name();
        if (int tensor = find_tensor(n); tensor >= 0) {
          t.access = access(tensor);
        } else if (int a = find_attr(n); a >= 0 && a == rule_->group_attr && !peek('[')) {
          t.axis = kGroup;
        } else if (a >= 0 || find_definition(n) >= 0) {
          t.factors.push_back(size_name(n));
        } else {
          if (t.axis >= 0) wrong(fmt::format("the product of axes {} and {}", rule_->axes[t.axis], n));
          t.axis = axis(n);
        }
      } else {
        t.factors.push_back(size_factor());
      }
    } while (take('*'));
    return t;
  }
  int access(int tensor) {
    expect('[');
    IndexAccess a;
    a.tensor = tensor;
    a.dims = dims(false);
    for (const IndexAccess& other : rule_->accesses)
      if (other.tensor == tensor)
        wrong(
            fmt::format("{} is accessed twice; a tensor may be accessed once", signature_.tensor_param(tensor).name));
    rule_->accesses.push_back(std::move(a));
    return static_cast<int>(rule_->accesses.size()) - 1;
  }

  // ---- bodies ----
  void find_reduction(std::string_view right) {
    body_at_ = 0;
    initial_end_ = 0;
    for (size_t i = 0; i < right.size(); ++i) {
      if (!starts_name(right[i]) || (i > 0 && in_name(right[i - 1]))) continue;
      for (int r = 1; r <= 6; ++r) {
        std::string_view word = kReductions[r];
        if (!right.substr(i).starts_with(word) || i + word.size() >= right.size() || right[i + word.size()] != '(')
          continue;
        rule_->reduction = static_cast<Reduction>(r);
        initial_end_ = i;
        s_ = right;
        at_ = i + word.size() + 1;
        if (!take(')')) {
          do {
            std::string n = name();
            if (int a = find_attr(n); a >= 0) {
              rule_->group_attr = a;
            } else {
              rule_->reduced[static_cast<size_t>(axis(n))] = true;
            }
          } while (take(','));
          expect(')');
        }
        body_at_ = at_;
        return;
      }
    }
  }
  void parse_bodies(std::string_view right) {
    std::string initial = strip_accesses(right.substr(0, initial_end_));
    std::string body = strip_accesses(right.substr(body_at_));
    while (!initial.empty() && initial.back() == ' ') initial.pop_back();
    std::vector<std::string> args, params;
    for (const IndexAccess& a : rule_->accesses) args.push_back(signature_.tensor_param(a.tensor).name);
    for (int i = 0; i < signature_.attrs; ++i) {
      const Param& p = signature_.attr_param(i);
      if (p.type != ParamType::boolean && p.type != ParamType::integer && p.type != ParamType::real &&
          p.type != ParamType::scalar)
        continue;
      params.push_back(p.name);
      rule_->param_attrs.push_back(i);
    }
    rule_->body = parse_scalar(body, args, params);
    if (!initial.empty()) {
      if (initial.back() != '+') wrong("what stands before the reduction must end in '+'");
      initial.pop_back();
      rule_->initial = std::make_shared<ScalarFunction>(parse_scalar(initial, args, params));
      if (rule_->reduction != Reduction::sum) wrong("only a sum can be added to something");
    }
  }
  std::string strip_accesses(std::string_view body) {
    std::string out;
    s_ = body;
    at_ = 0;
    while (at_ < s_.size()) {
      if (!starts_name(s_[at_])) {
        out += s_[at_++];
        continue;
      }
      std::string n = name();
      out += n;
      if (int tensor = find_tensor(n); tensor >= 0) access(tensor);
    }
    return out;
  }

  void finish() {
    for (int i = 0; i < signature_.attrs; ++i)
      if (signature_.attr_param(i).name == "keepdim") rule_->keepdim_attr = i;
    if (rule_->accesses.empty()) wrong("no tensor is accessed");
  }

  std::string_view text_;
  const Signature& signature_;
  std::shared_ptr<IndexRule> rule_;
  std::string_view s_;
  size_t at_ = 0;
  size_t initial_end_ = 0, body_at_ = 0;
};

// Filled while operators register themselves, read only afterwards.
std::map<std::string, Kernel, std::less<>>& gradient_kernels() {
  static auto* map = new std::map<std::string, Kernel, std::less<>>;
  return *map;
}

}  // namespace

bool gradient_kernel(std::string_view derived_name, Kernel kernel) {
  return gradient_kernels().emplace(derived_name, std::move(kernel)).second;
}
Kernel find_gradient_kernel(std::string_view derived_name) {
  auto it = gradient_kernels().find(derived_name);
  return it == gradient_kernels().end() ? Kernel() : it->second;
}

std::string_view to_string(Reduction r) { return kReductions[static_cast<size_t>(r)]; }

std::shared_ptr<const IndexRule> parse_index(std::string_view notation, const Signature& signature) {
  return Parser(notation, signature).parse();
}

}  // namespace sorus
