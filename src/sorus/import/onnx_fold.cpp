// Quantised models in QDQ form say everything twice: a product of floats between DequantizeLinear and QuantizeLinear
// stands for one of integers. Where scales and zero points are constants the file's nodes are rewritten:
//
//   DequantizeLinear(x), DequantizeLinear(w), DequantizeLinear(b) -> Conv [-> Relu] -> QuantizeLinear
//   becomes QLinearConv(x, w, b)
//
// so that weights stay in bytes and sums in integers, as ONNX Runtime does when it optimises such a model. Means and
// resizing become operators on whole numbers too. Everything else between the two stays what it says: arithmetic of
// floats.
#include <algorithm>
#include <cmath>
#include <set>

#include "sorus/import/onnx.h"

namespace sorus::importer::onnx {
namespace {

class Folder {
 public:
  Folder(const std::vector<FileNode>& nodes, const Constants& constants, const std::vector<std::string>& results)
      : nodes_(nodes), constants_(constants), gone_(nodes.size(), 0) {
    for (size_t i = 0; i < nodes.size(); ++i) {
      for (const std::string& name : nodes[i].out) made_by_[name] = i;
      for (const std::string& name : nodes[i].in) read_by_[name].push_back(i);
    }
    results_.insert(results.begin(), results.end());
  }

  std::vector<FileNode> folded() {
    std::vector<FileNode> list;
    std::map<size_t, FileNode> instead;
    for (size_t i = 0; i < nodes_.size(); ++i)
      if (nodes_[i].op == "QuantizeLinear" && standard(nodes_[i]))
        if (auto product = product_before(i)) instead.emplace(i, std::move(*product));
    // What only they read is not computed.
    for (size_t i = 0; i < nodes_.size(); ++i)
      if (nodes_[i].op == "DequantizeLinear" && !nodes_[i].out.empty() && !results_.count(nodes_[i].out[0])) {
        const std::vector<size_t>& readers = read_by_[nodes_[i].out[0]];
        gone_[i] = !readers.empty() && std::ranges::all_of(readers, [&](size_t r) { return gone_[r] != 0; });
      }
    for (size_t i = 0; i < nodes_.size(); ++i) {
      auto found = instead.find(i);
      if (found != instead.end())
        list.push_back(std::move(found->second));
      else if (!gone_[i])
        list.push_back(nodes_[i]);
    }
    return list;
  }

 private:
  static bool standard(const FileNode& n) { return n.domain.empty() || n.domain == "ai.onnx"; }

  const FileNode* maker(const std::string& name, size_t* at = nullptr) const {
    auto found = made_by_.find(name);
    if (found == made_by_.end() || !standard(nodes_[found->second])) return nullptr;
    if (at) *at = found->second;
    return &nodes_[found->second];
  }
  Tensor constant(const std::string& name) const {
    auto found = constants_.find(name);
    return found == constants_.end() || !is_constant(found->second) ? Tensor() : found->second;
  }
  bool read_once(const std::string& name) const {
    auto found = read_by_.find(name);
    return !results_.count(name) && found != read_by_.end() && found->second.size() == 1;
  }
  std::optional<int64_t> attribute(const FileNode& n, std::string_view name) const {
    for (const Message& a : n.attributes)
      if (a.last(1).bytes == name) return a.last(3).integer();
    return std::nullopt;
  }

  // Scale and zero point of a DequantizeLinear or QuantizeLinear of bytes; scales one for all or, `by_axis`, one for
  // each index of that dimension.
  bool of_bytes(const FileNode& n, int64_t by_axis) const {
    if (n.in.size() < 3 || attribute(n, "block_size").value_or(0) != 0) return false;
    Tensor scale = constant(n.in[1]), zero = constant(n.in[2]);
    if (!scale.defined() || !zero.defined() || scale.dtype() != DType::f32) return false;
    if (zero.dtype() != DType::i8 && zero.dtype() != DType::u8) return false;
    return scale.numel() == 1 || (by_axis >= 0 && scale.dim() == 1 && attribute(n, "axis").value_or(1) == by_axis);
  }

  std::optional<FileNode> product_before(size_t quantize) {
    const FileNode& q = nodes_[quantize];
    if (!of_bytes(q, -1) || q.out.size() != 1) return std::nullopt;
    size_t at = 0, relu = 0;
    const FileNode* product = maker(q.in[0], &at);
    bool clipped = product && product->op == "Relu";
    if (clipped) {
      relu = at;
      if (!read_once(q.in[0]) || product->in.size() != 1) return std::nullopt;
      product = maker(product->in[0], &at);
    }
    if (!product || product->in.empty() || product->out.size() != 1 || !read_once(product->out[0]))
      return std::nullopt;
    if (!clipped)
      if (auto linear = linear_before(at, quantize)) return linear;
    bool conv = product->op == "Conv", gemm = product->op == "Gemm", matmul = product->op == "MatMul";
    if ((!conv && !gemm && !matmul) || product->in.size() < 2) return std::nullopt;
    bool by_rows = gemm && attribute(*product, "transB").value_or(0) != 0;
    if (gemm && (attribute(*product, "transA").value_or(0) != 0 || has(*product, "alpha") || has(*product, "beta")))
      return std::nullopt;
    const FileNode *x = maker(product->in[0]), *w = maker(product->in[1]);
    if (!x || !w || x->op != "DequantizeLinear" || w->op != "DequantizeLinear" || !of_bytes(*x, -1) ||
        !of_bytes(*w, conv || by_rows ? 0 : 1) || !constant(w->in[0]).defined())
      return std::nullopt;
    // Types of input and result are one.
    if (constant(x->in[2]).dtype() != constant(q.in[2]).dtype()) return std::nullopt;
    FileNode n = *product;
    n.number = nodes_[at].number;
    n.out = q.out;
    n.in = {x->in[0], x->in[1], x->in[2], w->in[0], w->in[1], w->in[2]};
    if (product->in.size() > 2 && !product->in[2].empty()) {
      std::optional<std::string> bias = bias_of(product->in[2], *x, *w);
      if (!bias) return std::nullopt;
      if (gemm)
        n.in.push_back(*bias), n.in.insert(n.in.end(), {q.in[1], q.in[2]});
      else
        n.in.insert(n.in.end(), {q.in[1], q.in[2], *bias});
    } else if (gemm) {
      n.in.insert(n.in.end(), {"", q.in[1], q.in[2]});
    } else {
      n.in.insert(n.in.end(), {q.in[1], q.in[2]});
    }
    n.op = conv ? "QLinearConv" : gemm ? "QGemm" : "QLinearMatMul";
    if (clipped) {
      n.more["relu"].integer = 1;
      gone_[relu] = 1;
    }
    gone_[at] = 1;
    return n;
  }

  // Means and resizing: inputs x, its scale and zero point, those of the result, then what else the operator takes.
  std::optional<FileNode> linear_before(size_t at, size_t quantize) {
    const FileNode &q = nodes_[quantize], &op = nodes_[at];
    bool resize = op.op == "Resize";
    if (op.op != "GlobalAveragePool" && op.op != "AveragePool" && !resize &&
        (op.op != "ReduceMean" || op.in.size() != 1 || !has(op, "axes")))
      return std::nullopt;
    const FileNode* x = maker(op.in[0]);
    if (!x || x->op != "DequantizeLinear" || !of_bytes(*x, -1)) return std::nullopt;
    FileNode n = op;
    n.op = "QLinear" + op.op;
    n.out = q.out;
    n.in = {x->in[0], x->in[1], x->in[2], q.in[1], q.in[2]};
    n.in.insert(n.in.end(), op.in.begin() + 1, op.in.end());
    gone_[at] = 1;
    return n;
  }

  bool has(const FileNode& n, std::string_view name) const {
    return std::ranges::any_of(n.attributes, [&](const Message& a) { return a.last(1).bytes == name; });
  }

  // The name of the integers of a bias that is given on the scale of the sums.
  std::optional<std::string> bias_of(const std::string& name, const FileNode& x, const FileNode& w) const {
    const FileNode* b = maker(name);
    if (!b || b->op != "DequantizeLinear" || b->in.size() < 2) return std::nullopt;
    Tensor whole = constant(b->in[0]), scale = constant(b->in[1]), xs = constant(x.in[1]), ws = constant(w.in[1]);
    Tensor zero = b->in.size() > 2 ? constant(b->in[2]) : Tensor();
    if (!whole.defined() || whole.dtype() != DType::i32 || whole.dim() != 1 || !scale.defined() ||
        scale.dtype() != DType::f32 || (scale.numel() != 1 && scale.numel() != ws.numel()) ||
        (b->in.size() > 2 && !b->in[2].empty() && (!zero.defined() || zero.dtype() != DType::i32)))
      return std::nullopt;
    for (int64_t i = 0; zero.defined() && i < zero.numel(); ++i)
      if (zero.data<int32_t>()[i] != 0) return std::nullopt;
    for (int64_t i = 0; i < ws.numel(); ++i) {
      float meant = xs.data<float>()[0] * ws.data<float>()[i];
      float said = scale.data<float>()[scale.numel() == 1 ? 0 : i];
      if (std::abs(said - meant) > 1e-4F * std::abs(meant)) return std::nullopt;
    }
    return b->in[0];
  }

  const std::vector<FileNode>& nodes_;
  const Constants& constants_;
  std::vector<char> gone_;
  std::map<std::string, size_t> made_by_;
  std::map<std::string, std::vector<size_t>> read_by_;
  std::set<std::string> results_;
};

}  // namespace

std::vector<FileNode> fold_quantized(const std::vector<FileNode>& nodes, const Constants& constants,
                                     const std::vector<std::string>& results) {
  return Folder(nodes, constants, results).folded();
}

}  // namespace sorus::importer::onnx
