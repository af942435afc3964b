// Attention, transformers, recurrent networks; functions of layers that draw or write.
#include <nanobind/stl/pair.h>
#include <nanobind/stl/vector.h>

#include "nn_bind.h"
#include "sorus/nn/init.h"
#include "sorus/ops.h"

namespace sorus::python {
namespace {

using OptionalInt = std::optional<int64_t>;

nn::MultiheadAttention::Mask mask_from(nb::handle attention, nb::handle padding, bool causal) {
  return {unwrap(padding, "key_padding_mask"), unwrap(attention, "attn_mask"), causal};
}

// Calls from C++ go through Python's __call__, where the hooks are and what a subclass made of forward.
void route_attention(nn::MultiheadAttention& layer, nb::handle self, bool on) {
  if (!on) return layer.set_attend({});
  nb::weakref weak(self);
  layer.set_attend([weak](const Tensor& q, const Tensor& k, const Tensor& v, const nn::MultiheadAttention::Mask& mask,
                          bool need_weights) -> nn::MultiheadAttention::Result {
    auto given = [](const Tensor& t) { return t.defined() ? wrap(t) : nb::none(); };
    nb::object out = weak()(wrap(q), wrap(k), wrap(v), nb::arg("key_padding_mask") = given(mask.key_padding),
                            nb::arg("need_weights") = need_weights, nb::arg("attn_mask") = given(mask.attention),
                            nb::arg("is_causal") = mask.causal);
    SORUS_CHECK(nb::isinstance<nb::tuple>(out) && nb::len(out) == 2, TypeError,
                "MultiheadAttention: expected its output and weights (or None), got {}",
                nb::type_name(out.type()).c_str());
    return {unwrap(out[0], "output"), unwrap(out[1], "weights")};
  });
}

void attention_layers(nb::module_& m) {
  using MHA = nn::MultiheadAttention;
  LayerClass<MHA>(m, "MultiheadAttention", nb::dynamic_attr())
      .def(
          "__init__",
          [](Place<MHA> self, int64_t dim, int64_t heads, double dropout, bool bias, bool bias_kv, bool zero_attn,
             OptionalInt kdim, OptionalInt vdim, bool batch_first, nb::handle, std::optional<DType> dtype) {
            make(self, dim, heads, MHA::Options{dropout, bias, bias_kv, zero_attn, kdim, vdim, batch_first});
            if (dtype) self.p->to(*dtype);
            if (nb::inst_python_derived(self.h)) route_attention(*self.p, self.h, true);
          },
          nb::arg("embed_dim"), nb::arg("num_heads"), nb::arg("dropout") = 0.0, nb::arg("bias") = true,
          nb::arg("add_bias_kv") = false, nb::arg("add_zero_attn") = false, nb::arg("kdim").none() = nb::none(),
          nb::arg("vdim").none() = nb::none(), nb::arg("batch_first") = false, nb::arg("device").none() = nb::none(),
          nb::arg("dtype").none() = nb::none())
      .def("_arguments",
           [](MHA& l) {
             const MHA::Options& o = l.options;
             return nb::make_tuple(l.embed_dim, l.num_heads, o.dropout, o.bias, o.add_bias_kv, o.add_zero_attn,
                                   nb::cast(o.kdim), nb::cast(o.vdim), o.batch_first);
           })
      .def("_route_calls",
           [](nb::handle self, bool on) {
             route_attention(nb::cast<MHA&>(self), self, on || nb::inst_python_derived(self));
           })
      .def_ro("embed_dim", &MHA::embed_dim)
      .def_ro("num_heads", &MHA::num_heads)
      .def_ro("head_dim", &MHA::head_dim)
      .def_prop_ro("batch_first", [](MHA& l) { return l.options.batch_first; })
      .def_prop_ro("dropout", [](MHA& l) { return l.options.dropout; })
      .def(
          "forward",
          [](MHA& self, const Tensor& q, const Tensor& k, const Tensor& v, nb::handle padding, bool need_weights,
             nb::handle mask, bool average, bool causal) {
            auto r = self.forward(q, k, v, mask_from(mask, padding, causal), need_weights, average);
            return nb::make_tuple(wrap(r.output), wrap(r.weights));
          },
          nb::arg("query"), nb::arg("key"), nb::arg("value"), nb::arg("key_padding_mask").none() = nb::none(),
          nb::arg("need_weights") = true, nb::arg("attn_mask").none() = nb::none(),
          nb::arg("average_attn_weights") = true, nb::arg("is_causal") = false);
  using Causal = nn::CausalSelfAttention;
  LayerClass<Causal>(m, "CausalSelfAttention", nb::dynamic_attr())
      .def(nb::init<int64_t, int64_t, double, bool>(), nb::arg("n_embd"), nb::arg("n_head"), nb::arg("dropout") = 0.0,
           nb::arg("bias") = true)
      .def("_arguments", [](Causal& l) { return nb::make_tuple(l.n_embd, l.n_head, l.dropout, l.bias); })
      .def(
          "forward", [](Causal& l, const Tensor& x) { return l.Causal::forward(x); }, nb::arg("input"));
  nb::class_<nn::KeyValueCache>(m, "KeyValueCache")
      .def(nb::init<>())
      .def("__len__", &nn::KeyValueCache::length)
      .def("clear", &nn::KeyValueCache::clear)
      .def("truncate", &nn::KeyValueCache::truncate, nb::arg("length"));
  using GQA = nn::GroupedQueryAttention;
  LayerClass<GQA>(m, "GroupedQueryAttention", nb::dynamic_attr())
      .def(
          "__init__",
          [](Place<GQA> self, int64_t dim, int64_t heads, OptionalInt kv_heads, double base, double dropout,
             bool bias) {
            make(self, GQA::Options{dim, heads, kv_heads.value_or(0), base, dropout, bias});
          },
          nb::arg("embed_dim"), nb::arg("num_heads"), nb::arg("num_kv_heads").none() = nb::none(),
          nb::arg("rope_base") = 10000.0, nb::arg("dropout") = 0.0, nb::arg("bias") = false)
      .def("_arguments",
           [](GQA& l) {
             const GQA::Options& o = l.options;
             return nb::make_tuple(o.embed_dim, o.num_heads, o.num_kv_heads, o.rope_base, o.dropout, o.bias);
           })
      .def(
          "forward", [](GQA& l, const Tensor& x, nn::KeyValueCache* cache) { return l.GQA::forward(x, cache); },
          nb::arg("input"), nb::arg("cache").none() = nb::none());
}

std::function<Tensor(const Tensor&)> activation_from(const nb::object& o) {
  if (nb::isinstance<nb::str>(o)) {
    auto name = nb::cast<std::string>(o);
    if (name == "relu") return {};
    if (name == "gelu") return [](const Tensor& x) { return gelu(x); };
    fail<Error>("TransformerEncoderLayer: activation should be relu or gelu, or a function, not '{}'", name);
  }
  return [o](const Tensor& x) { return nb::cast<Tensor>(o(x)); };
}

void transformer_layers(nb::module_& m) {
  using Layer = nn::TransformerEncoderLayer;
  LayerClass<Layer>(m, "TransformerEncoderLayer", nb::dynamic_attr())
      .def(
          "__init__",
          [](Place<Layer> self, int64_t d_model, int64_t nhead, int64_t feedforward, double dropout,
             nb::object activation, double eps, bool batch_first, bool norm_first, bool bias, nb::handle,
             std::optional<DType> dtype) {
            make(self, nn::TransformerOptions{d_model, nhead, feedforward, dropout, activation_from(activation), eps,
                                              batch_first, norm_first, bias});
            if (dtype) self.p->to(*dtype);
            nb::setattr(self.h, "activation", activation);
          },
          nb::arg("d_model"), nb::arg("nhead"), nb::arg("dim_feedforward") = 2048, nb::arg("dropout") = 0.1,
          nb::arg("activation") = "relu", nb::arg("layer_norm_eps") = 1e-5, nb::arg("batch_first") = false,
          nb::arg("norm_first") = false, nb::arg("bias") = true, nb::arg("device").none() = nb::none(),
          nb::arg("dtype").none() = nb::none())
      .def("_arguments",
           [](nb::handle self) {
             const nn::TransformerOptions& o = nb::cast<Layer&>(self).options;
             return nb::make_tuple(o.d_model, o.nhead, o.dim_feedforward, o.dropout, self.attr("activation"),
                                   o.layer_norm_eps, o.batch_first, o.norm_first, o.bias);
           })
      .def(
          "forward",
          [](Layer& l, const Tensor& x, nb::handle mask, nb::handle padding, bool causal) {
            return l.Layer::forward(x, mask_from(mask, padding, causal));
          },
          nb::arg("src"), nb::arg("src_mask").none() = nb::none(),
          nb::arg("src_key_padding_mask").none() = nb::none(), nb::arg("is_causal") = false);
}

// One tensor, or a pair for an LSTM.
TensorList state_from(nb::handle o) {
  if (o.is_none()) return {};
  return unwrap_list(o, "hx");
}
nb::object state_to(const TensorList& state) {
  return state.size() == 1 ? wrap(state[0]) : nb::object(nb::tuple(wrap_list(state)));
}

template <class R, class... More>
LayerClass<R> recurrent(nb::module_& m, const char* name) {
  return LayerClass<R>(m, name, nb::dynamic_attr())
      .def_ro("input_size", &R::input_size)
      .def_ro("hidden_size", &R::hidden_size)
      .def_prop_ro("proj_size", [](R& l) { return l.options.proj_size; })
      .def_prop_ro("num_layers", [](R& l) { return l.options.num_layers; })
      .def_prop_ro("bidirectional", [](R& l) { return l.options.bidirectional; })
      .def_prop_ro("batch_first", [](R& l) { return l.options.batch_first; })
      .def("flatten_parameters", [](R&) {})
      .def("reset_parameters", &R::reset_parameters)
      .def(
          "_packed",
          [](R& self, const Tensor& data, const Shape& batch_sizes, nb::handle hx) {
            auto r = self.run_packed(data, batch_sizes, state_from(hx));
            return nb::make_tuple(wrap(r.output), state_to(r.state));
          },
          nb::arg("data"), nb::arg("batch_sizes"), nb::arg("hx").none())
      .def(
          "forward",
          [](R& self, const Tensor& x, nb::handle hx) {
            auto r = self.run(x, state_from(hx));
            return nb::make_tuple(wrap(r.output), state_to(r.state));
          },
          nb::arg("input"), nb::arg("hx").none() = nb::none())
      // A PackedSequence, which knows how to run itself through a layer.
      .def(
          "forward",
          [](nb::handle self, nb::handle packed, nb::handle hx) {
            SORUS_CHECK(nb::hasattr(packed, "_through"), TypeError,
                        "{}: expected a Tensor or a PackedSequence, got {}", nb::type_name(self.type()).c_str(),
                        nb::type_name(packed.type()).c_str());
            return packed.attr("_through")(self, hx);
          },
          nb::arg("input"), nb::arg("hx").none() = nb::none());
}

template <class R>
void gated(nb::module_& m, const char* name) {
  recurrent<R>(m, name)
      .def(
          "__init__",
          [](Place<R> self, int64_t in, int64_t hidden, int64_t layers, bool bias, bool batch_first, double dropout,
             bool bidirectional, int64_t proj_size, nb::handle, std::optional<DType> dtype) {
            make(self, in, hidden,
                 nn::RecurrentOptions{layers, bias, batch_first, dropout, bidirectional, proj_size});
            if (dtype) self.p->to(*dtype);
          },
          nb::arg("input_size"), nb::arg("hidden_size"), nb::arg("num_layers") = 1, nb::arg("bias") = true,
          nb::arg("batch_first") = false, nb::arg("dropout") = 0.0, nb::arg("bidirectional") = false,
          nb::arg("proj_size") = 0, nb::arg("device").none() = nb::none(), nb::arg("dtype").none() = nb::none())
      .def("_arguments", [](R& l) {
        const auto& o = l.options;
        return nb::make_tuple(l.input_size, l.hidden_size, o.num_layers, o.bias, o.batch_first, o.dropout,
                              o.bidirectional, o.proj_size);
      });
}

// The cell is chosen in Python: RNNCell, LSTMCell, GRUCell are its subclasses.
void recurrent_layers(nb::module_& m) {
  gated<nn::LSTM>(m, "LSTM");
  gated<nn::GRU>(m, "GRU");
  recurrent<nn::RNN>(m, "RNN")
      .def(
          "__init__",
          [](Place<nn::RNN> self, int64_t in, int64_t hidden, int64_t layers, std::string nonlinearity, bool bias,
             bool batch_first, double dropout, bool bidirectional, nb::handle, std::optional<DType> dtype) {
            SORUS_CHECK(nonlinearity == "tanh" || nonlinearity == "relu", ValueError,
                        "RNN: nonlinearity must be 'tanh' or 'relu', not '{}'", nonlinearity);
            make(self, in, hidden, nn::RecurrentOptions{layers, bias, batch_first, dropout, bidirectional},
                 nonlinearity == "relu");
            if (dtype) self.p->to(*dtype);
            nb::setattr(self.h, "nonlinearity", nb::cast(nonlinearity));
          },
          nb::arg("input_size"), nb::arg("hidden_size"), nb::arg("num_layers") = 1, nb::arg("nonlinearity") = "tanh",
          nb::arg("bias") = true, nb::arg("batch_first") = false, nb::arg("dropout") = 0.0,
          nb::arg("bidirectional") = false, nb::arg("device").none() = nb::none(),
          nb::arg("dtype").none() = nb::none())
      .def("_arguments", [](nb::handle self) {
        nn::RNN& l = nb::cast<nn::RNN&>(self);
        const auto& o = l.options;
        return nb::make_tuple(l.input_size, l.hidden_size, o.num_layers, self.attr("nonlinearity"), o.bias,
                              o.batch_first, o.dropout, o.bidirectional);
      });
  LayerClass<nn::RecurrentCell>(m, "RecurrentCell", nb::dynamic_attr())
      .def(
          "__init__",
          [](Place<nn::RecurrentCell> self, const std::string& kind, int64_t in, int64_t hidden, bool bias,
             std::optional<DType> dtype) {
            nn::Cell cell = kind == "lstm"   ? nn::Cell::lstm
                            : kind == "gru"  ? nn::Cell::gru
                            : kind == "relu" ? nn::Cell::rnn_relu
                                             : nn::Cell::rnn_tanh;
            make(self, cell, in, hidden, bias);
            if (dtype) self.p->to(*dtype);
          },
          nb::arg("kind"), nb::arg("input_size"), nb::arg("hidden_size"), nb::arg("bias"), nb::arg("dtype").none())
      .def_ro("input_size", &nn::RecurrentCell::input_size)
      .def_ro("hidden_size", &nn::RecurrentCell::hidden_size)
      .def(
          "forward",
          [](nn::RecurrentCell& l, const Tensor& x, nb::handle hx) { return state_to(l.step(x, state_from(hx))); },
          nb::arg("input"), nb::arg("hx").none() = nb::none());
}

const Part layers{21, [](nb::module_& root) {
                    nb::module_ m = nb::borrow<nb::module_>(root.attr("_nn"));
                    attention_layers(m);
                    transformer_layers(m);
                    recurrent_layers(m);
                  }};

// torch.nn.functional's that are more than an operator.
const Part functions{
    21, [](nb::module_& root) {
      nb::module_ m = root.def_submodule("_functional");
      m.def(
          "dropout", [](const Tensor& x, double p, bool training, bool) { return training ? nn::dropout(x, p) : x; },
          nb::arg("input"), nb::arg("p") = 0.5, nb::arg("training") = true, nb::arg("inplace") = false);
      m.def(
          "dropout_channels",
          [](const Tensor& x, double p, bool training, bool) { return training ? nn::dropout_channels(x, p) : x; },
          nb::arg("input"), nb::arg("p") = 0.5, nb::arg("training") = true, nb::arg("inplace") = false);
      m.def(
          "batch_norm",
          [](const Tensor& x, nb::handle mean, nb::handle var, nb::handle weight, nb::handle bias, bool training,
             double momentum, double eps) {
            auto tensor = [](nb::handle t) { return unwrap(t, "batch_norm"); };
            return nn::batch_norm(x, tensor(mean), tensor(var), tensor(weight), tensor(bias), training, momentum,
                                  eps);
          },
          nb::arg("input"), nb::arg("running_mean").none(), nb::arg("running_var").none(),
          nb::arg("weight").none() = nb::none(), nb::arg("bias").none() = nb::none(), nb::arg("training") = false,
          nb::arg("momentum") = 0.1, nb::arg("eps") = 1e-5);
      m.def(
          "scaled_dot_product_attention",
          [](const Tensor& q, const Tensor& k, const Tensor& v, nb::handle mask, double dropout, bool causal,
             std::optional<double> scale, bool) {
            return nn::attention(q, k, v, unwrap(mask, "attn_mask"),
                                 {.dropout = dropout, .causal = causal, .scale = scale});
          },
          nb::arg("query"), nb::arg("key"), nb::arg("value"), nb::arg("attn_mask").none() = nb::none(),
          nb::arg("dropout_p") = 0.0, nb::arg("is_causal") = false, nb::kw_only(),
          nb::arg("scale").none() = nb::none(), nb::arg("enable_gqa") = false);
      m.def("rotary", &nn::rotary, nb::arg("input"), nb::arg("offset") = 0, nb::arg("base") = 10000.0);
    }};

nn::Generator& chosen(nn::Generator* g) { return g ? *g : nn::default_generator(); }

const Part initialisers{
    31, [](nb::module_& root) {
      nb::module_ m = root.def_submodule("_init");
      auto generator = nb::arg("generator").none() = nb::none();
      using G = nn::Generator*;
      // Each returns its tensor.
      auto def = [&](const char* name, auto f, auto... names) { m.def(name, f, nb::arg("tensor"), names...); };
      def(
          "uniform_",
          [](nb::object t, double a, double b, G g) {
            nn::uniform_(nb::cast<Tensor>(t), a, b, chosen(g));
            return t;
          },
          nb::arg("a") = 0.0, nb::arg("b") = 1.0, generator);
      def(
          "normal_",
          [](nb::object t, double mean, double std, G g) {
            nn::normal_(nb::cast<Tensor>(t), mean, std, chosen(g));
            return t;
          },
          nb::arg("mean") = 0.0, nb::arg("std") = 1.0, generator);
      def(
          "trunc_normal_",
          [](nb::object t, double mean, double std, double a, double b, G g) {
            nn::init::trunc_normal_(nb::cast<Tensor>(t), mean, std, a, b, chosen(g));
            return t;
          },
          nb::arg("mean") = 0.0, nb::arg("std") = 1.0, nb::arg("a") = -2.0, nb::arg("b") = 2.0, generator);
      def(
          "constant_",
          [](nb::object t, double v) {
            nn::init::constant_(nb::cast<Tensor>(t), v);
            return t;
          },
          nb::arg("val"));
      def("ones_", [](nb::object t) {
        nn::init::constant_(nb::cast<Tensor>(t), 1);
        return t;
      });
      def("zeros_", [](nb::object t) {
        nn::init::constant_(nb::cast<Tensor>(t), 0);
        return t;
      });
      def("eye_", [](nb::object t) {
        nn::init::eye_(nb::cast<Tensor>(t));
        return t;
      });
      def(
          "dirac_",
          [](nb::object t, int64_t groups) {
            nn::init::dirac_(nb::cast<Tensor>(t), groups);
            return t;
          },
          nb::arg("groups") = 1);
      def(
          "xavier_uniform_",
          [](nb::object t, double gain, G g) {
            nn::init::xavier_uniform_(nb::cast<Tensor>(t), gain, chosen(g));
            return t;
          },
          nb::arg("gain") = 1.0, generator);
      def(
          "xavier_normal_",
          [](nb::object t, double gain, G g) {
            nn::init::xavier_normal_(nb::cast<Tensor>(t), gain, chosen(g));
            return t;
          },
          nb::arg("gain") = 1.0, generator);
      def(
          "kaiming_uniform_",
          [](nb::object t, double a, const std::string& mode, const std::string& f, G g) {
            nn::init::kaiming_uniform_(nb::cast<Tensor>(t), a, mode, f, chosen(g));
            return t;
          },
          nb::arg("a") = 0.0, nb::arg("mode") = "fan_in", nb::arg("nonlinearity") = "leaky_relu", generator);
      def(
          "kaiming_normal_",
          [](nb::object t, double a, const std::string& mode, const std::string& f, G g) {
            nn::init::kaiming_normal_(nb::cast<Tensor>(t), a, mode, f, chosen(g));
            return t;
          },
          nb::arg("a") = 0.0, nb::arg("mode") = "fan_in", nb::arg("nonlinearity") = "leaky_relu", generator);
      def(
          "orthogonal_",
          [](nb::object t, double gain, G g) {
            nn::init::orthogonal_(nb::cast<Tensor>(t), gain, chosen(g));
            return t;
          },
          nb::arg("gain") = 1.0, generator);
      def(
          "sparse_",
          [](nb::object t, double sparsity, double std, G g) {
            nn::init::sparse_(nb::cast<Tensor>(t), sparsity, std, chosen(g));
            return t;
          },
          nb::arg("sparsity"), nb::arg("std") = 0.01, generator);
      m.def("calculate_gain", &nn::calculate_gain, nb::arg("nonlinearity"), nb::arg("param").none() = nb::none());
      m.def(
          "_calculate_fan_in_and_fan_out",
          [](const Tensor& t) { return std::pair(nn::fans_of(t).in, nn::fans_of(t).out); }, nb::arg("tensor"));
    }};

}  // namespace
}  // namespace sorus::python
