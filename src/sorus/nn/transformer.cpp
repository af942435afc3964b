#include "sorus/nn/transformer.h"

#include "sorus/nn/norm.h"
#include "sorus/ops.h"

namespace sorus::nn {

TransformerEncoderLayer::TransformerEncoderLayer(TransformerOptions given) : options(std::move(given)) {
  const TransformerOptions& o = options;
  MultiheadAttention::Options attention;
  attention.dropout = o.dropout, attention.bias = o.bias, attention.batch_first = o.batch_first;
  add("self_attn", self_attn, std::make_shared<MultiheadAttention>(o.d_model, o.nhead, attention));
  auto norm = [&] { return std::make_shared<LayerNorm>(Shape{o.d_model}, o.layer_norm_eps, true, o.bias); };
  auto dropout = [&] { return std::make_shared<Dropout>(o.dropout); };
  add("linear1", linear1_, std::make_shared<Linear>(o.d_model, o.dim_feedforward, o.bias));
  add("dropout", dropout_, dropout());
  add("linear2", linear2_, std::make_shared<Linear>(o.dim_feedforward, o.d_model, o.bias));
  add("norm1", norm1_, norm());
  add("norm2", norm2_, norm());
  add("dropout1", dropout1_, dropout());
  add("dropout2", dropout2_, dropout());
}

Tensor TransformerEncoderLayer::forward(const Tensor& src, const MultiheadAttention::Mask& mask) {
  auto attend = [&](const Tensor& x) { return (*dropout1_)((*self_attn)(x, x, x, mask, false).output); };
  auto feed = [&](const Tensor& x) {
    Tensor h = (*linear1_)(x);
    h = options.activation ? options.activation(h) : relu(h);
    return (*dropout2_)((*linear2_)((*dropout_)(h)));
  };
  if (options.norm_first) {
    Tensor x = src + attend((*norm1_)(src));
    return x + feed((*norm2_)(x));
  }
  Tensor x = (*norm1_)(src + attend(src));
  return (*norm2_)(x + feed(x));
}

TransformerEncoder::TransformerEncoder(const TransformerOptions& options, int64_t num_layers,
                                       std::shared_ptr<Module> norm) {
  add("layers", layers_, std::make_shared<ModuleList>());
  for (int64_t i = 0; i < num_layers; ++i) layers_->append(std::make_shared<TransformerEncoderLayer>(options));
  add("norm", norm_, std::move(norm));
}

Tensor TransformerEncoder::forward(const Tensor& src, const MultiheadAttention::Mask& mask) {
  Tensor x = src;
  for (auto& [name, layer] : layers_->children()) {
    auto* own = dynamic_cast<TransformerEncoderLayer*>(layer.get());
    x = own ? own->forward(x, mask) : (*layer)(x);
  }
  return norm_ ? (*norm_)(x) : x;
}

}  // namespace sorus::nn
