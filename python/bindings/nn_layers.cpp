// Layers of one tensor: products, lookups, norms, convolutions, pooling.
#include <nanobind/stl/map.h>

#include "nn_bind.h"

namespace sorus::python {
namespace {

using OptionalInt = std::optional<int64_t>;
using OptionalReal = std::optional<double>;
template <class T>
nb::object python(const std::optional<T>& v) {
  return v ? nb::cast(*v) : nb::none();
}

void basic_layers(nb::module_& m) {
  Constructor<int64_t, int64_t, bool>::bind<nn::Linear>(
      m, "Linear", [](nn::Linear& l) { return nb::make_tuple(l.in_features, l.out_features, l.bias.defined()); },
      nb::arg("in_features"), nb::arg("out_features"), nb::arg("bias") = true)
      .def_rw("in_features", &nn::Linear::in_features)
      .def_ro("out_features", &nn::Linear::out_features)
      .def("reset_parameters", &nn::Linear::reset_parameters);
  LayerClass<nn::Bilinear>(m, "Bilinear", nb::dynamic_attr())
      .def(
          "__init__",
          [](Place<nn::Bilinear> self, int64_t a, int64_t b, int64_t out, bool bias, nb::handle,
             std::optional<DType> dtype) {
            make(self, a, b, out, bias);
            if (dtype) self.p->to(*dtype);
          },
          nb::arg("in1_features"), nb::arg("in2_features"), nb::arg("out_features"), nb::arg("bias") = true,
          nb::arg("device").none() = nb::none(), nb::arg("dtype").none() = nb::none())
      .def("_arguments",
           [](nn::Bilinear& l) {
             return nb::make_tuple(l.in1_features, l.in2_features, l.out_features, l.bias.defined());
           })
      .def(
          "forward", [](nn::Bilinear& l, const Tensor& a, const Tensor& b) { return l.forward(a, b); },
          nb::arg("input1"), nb::arg("input2"));
  LayerClass<nn::Embedding>(m, "Embedding", nb::dynamic_attr())
      .def(
          "__init__",
          [](Place<nn::Embedding> self, int64_t num, int64_t dim, OptionalInt padding, nb::handle max_norm, double,
             bool scale_grad_by_freq, bool, nb::handle, std::optional<DType> dtype) {
            SORUS_CHECK(max_norm.is_none() && !scale_grad_by_freq, NotImplementedError,
                        "Embedding: max_norm and scale_grad_by_freq are not there");
            make(self, num, dim, padding);
            if (dtype) self.p->to(*dtype);
          },
          nb::arg("num_embeddings"), nb::arg("embedding_dim"), nb::arg("padding_idx").none() = nb::none(),
          nb::arg("max_norm").none() = nb::none(), nb::arg("norm_type") = 2.0, nb::arg("scale_grad_by_freq") = false,
          nb::arg("sparse") = false, nb::arg("device").none() = nb::none(), nb::arg("dtype").none() = nb::none())
      .def("_arguments",
           [](nn::Embedding& l) { return nb::make_tuple(l.num_embeddings, l.embedding_dim, python(l.padding_idx)); })
      .def(
          "forward", [](nn::Embedding& l, const Tensor& x) { return l.nn::Embedding::forward(x); }, nb::arg("input"))
      .def_ro("num_embeddings", &nn::Embedding::num_embeddings)
      .def_ro("embedding_dim", &nn::Embedding::embedding_dim)
      .def_ro("padding_idx", &nn::Embedding::padding_idx)
      .def("reset_parameters", &nn::Embedding::reset_parameters);
  // PyTorch's Identity takes any arguments.
  LayerClass<nn::Identity>(m, "Identity", nb::dynamic_attr())
      .def("__init__", [](Place<nn::Identity> self, nb::args, nb::kwargs) { make(self); })
      .def("_arguments", [](nn::Identity&) { return nb::make_tuple(); })
      .def(
          "forward", [](nn::Identity&, nb::object x) { return x; }, nb::arg("input"));
  Constructor<int64_t, int64_t>::bind<nn::Flatten>(
      m, "Flatten", [](nn::Flatten& l) { return nb::make_tuple(l.start_dim, l.end_dim); }, nb::arg("start_dim") = 1,
      nb::arg("end_dim") = -1);
  Constructor<int64_t, Shape>::bind<nn::Unflatten>(
      m, "Unflatten", [](nn::Unflatten& l) { return nb::make_tuple(l.dim, l.unflattened_size); }, nb::arg("dim"),
      nb::arg("unflattened_size"));
  auto dropout_arguments = [](nn::Dropout& l) { return nb::make_tuple(l.p, l.inplace); };
  Constructor<double, bool>::bind<nn::Dropout>(m, "Dropout", dropout_arguments, nb::arg("p") = 0.5,
                                               nb::arg("inplace") = false)
      .def_rw("p", &nn::Dropout::p)
      .def_ro("inplace", &nn::Dropout::inplace);
  Constructor<double, bool>::bind<nn::DropoutChannels>(m, "DropoutChannels", dropout_arguments, nb::arg("p") = 0.5,
                                                       nb::arg("inplace") = false)
      .def_rw("p", &nn::Dropout::p)
      .def_ro("inplace", &nn::Dropout::inplace);
}

template <class B>
void batch_norm(nb::module_& m, const char* name) {
  LayerClass<B>(m, name, nb::dynamic_attr())
      .def(
          "__init__",
          [](Place<B> self, int64_t features, double eps, OptionalReal momentum, bool affine, bool track, nb::handle,
             std::optional<DType> dtype, bool bias) {
            make(self, features, eps, momentum, affine, track, bias);
            if (dtype) self.p->to(*dtype);
          },
          nb::arg("num_features"), nb::arg("eps") = 1e-5, nb::arg("momentum").none() = 0.1, nb::arg("affine") = true,
          nb::arg("track_running_stats") = true, nb::arg("device").none() = nb::none(),
          nb::arg("dtype").none() = nb::none(), nb::kw_only(), nb::arg("bias") = true)
      .def("_arguments",
           [](B& l) {
             return nb::make_tuple(l.num_features, l.eps, python(l.momentum), l.affine, l.track_running_stats);
           })
      .def(
          "forward", [](B& self, const Tensor& x) { return self.B::forward(x); }, nb::arg("input"))
      .def_rw("num_features", &B::num_features)
      .def_rw("eps", &B::eps)
      .def_rw("momentum", &B::momentum, nb::arg().none())
      .def_ro("affine", &B::affine)
      .def_ro("track_running_stats", &B::track_running_stats)
      .def("reset_running_stats", &B::reset_running_stats);
}

void norm_layers(nb::module_& m) {
  Constructor<Shape, double, bool, bool>::bind<nn::LayerNorm>(
      m, "LayerNorm",
      [](nn::LayerNorm& l) {
        return nb::make_tuple(l.normalized_shape, l.eps, l.elementwise_affine, l.bias.defined());
      },
      nb::arg("normalized_shape"), nb::arg("eps") = 1e-5, nb::arg("elementwise_affine") = true,
      nb::arg("bias") = true)
      .def_ro("normalized_shape", &nn::LayerNorm::normalized_shape)
      .def_ro("eps", &nn::LayerNorm::eps)
      .def_ro("elementwise_affine", &nn::LayerNorm::elementwise_affine);
  Constructor<Shape, OptionalReal, bool>::bind<nn::RMSNorm>(
      m, "RMSNorm",
      [](nn::RMSNorm& l) { return nb::make_tuple(l.normalized_shape, python(l.eps), l.elementwise_affine); },
      nb::arg("normalized_shape"), nb::arg("eps").none() = nb::none(), nb::arg("elementwise_affine") = true)
      .def_ro("normalized_shape", &nn::RMSNorm::normalized_shape)
      .def_ro("eps", &nn::RMSNorm::eps)
      .def_ro("elementwise_affine", &nn::RMSNorm::elementwise_affine);
  LayerClass<nn::GroupNorm>(m, "GroupNorm", nb::dynamic_attr())
      .def(
          "__init__",
          [](Place<nn::GroupNorm> self, int64_t groups, int64_t channels, double eps, bool affine, nb::handle,
             std::optional<DType> dtype, bool bias) {
            make(self, groups, channels, eps, affine, bias);
            if (dtype) self.p->to(*dtype);
          },
          nb::arg("num_groups"), nb::arg("num_channels"), nb::arg("eps") = 1e-5, nb::arg("affine") = true,
          nb::arg("device").none() = nb::none(), nb::arg("dtype").none() = nb::none(), nb::kw_only(),
          nb::arg("bias") = true)
      .def("_arguments",
           [](nn::GroupNorm& l) { return nb::make_tuple(l.num_groups, l.num_channels, l.eps, l.affine); })
      .def(
          "forward", [](nn::GroupNorm& l, const Tensor& x) { return l.nn::GroupNorm::forward(x); }, nb::arg("input"))
      .def_ro("num_groups", &nn::GroupNorm::num_groups)
      .def_ro("num_channels", &nn::GroupNorm::num_channels)
      .def_ro("eps", &nn::GroupNorm::eps)
      .def_ro("affine", &nn::GroupNorm::affine);
  batch_norm<nn::BatchNorm1d>(m, "BatchNorm1d");
  batch_norm<nn::BatchNorm2d>(m, "BatchNorm2d");
  batch_norm<nn::BatchNorm3d>(m, "BatchNorm3d");
}

// Numbers, or "same" and "valid".
void read_padding(nn::ConvOptions& o, nb::handle padding) {
  if (nb::isinstance<nb::str>(padding))
    o.padding_name = nb::cast<std::string>(padding);
  else
    o.padding = nb::cast<Shape>(padding);
}
nb::object padding_of(const nn::ConvOptions& o) {
  return o.padding_name.empty() ? nb::cast(o.padding) : nb::cast(o.padding_name);
}

template <class C, class Class>
void conv_properties(Class& c) {
  c.def_rw("in_channels", &C::in_channels)
      .def_ro("out_channels", &C::out_channels)
      .def_ro("kernel_size", &C::kernel_size)
      .def_prop_ro("stride", [](const C& l) { return l.options.stride; })
      .def_prop_ro("padding", [](const C& l) { return padding_of(l.options); })
      .def_prop_ro("dilation", [](const C& l) { return l.options.dilation; })
      .def_prop_ro("groups", [](const C& l) { return l.options.groups; })
      .def_prop_ro("padding_mode", [](const C& l) { return l.options.padding_mode; })
      .def(
          "forward", [](C& self, const Tensor& x) { return self.C::forward(x); }, nb::arg("input"));
}

template <class C>
void convolution(nb::module_& m, const char* name) {
  LayerClass<C> c(m, name, nb::dynamic_attr());
  c.def(
       "__init__",
       [](Place<C> self, int64_t in, int64_t out, Shape kernel, Shape stride, nb::object padding, Shape dilation,
          int64_t groups, bool bias, std::string mode, nb::handle, std::optional<DType> dtype) {
         nn::ConvOptions o{stride, {0}, dilation, groups, bias, mode, {}};
         read_padding(o, padding);
         make(self, in, out, kernel, o);
         if (dtype) self.p->to(*dtype);
       },
       nb::arg("in_channels"), nb::arg("out_channels"), nb::arg("kernel_size"), nb::arg("stride") = 1,
       nb::arg("padding") = 0, nb::arg("dilation") = 1, nb::arg("groups") = 1, nb::arg("bias") = true,
       nb::arg("padding_mode") = "zeros", nb::arg("device").none() = nb::none(), nb::arg("dtype").none() = nb::none())
      .def("_arguments", [](C& l) {
        const nn::ConvOptions& o = l.options;
        return nb::make_tuple(l.in_channels, l.out_channels, l.kernel_size, o.stride, padding_of(o), o.dilation,
                              o.groups, o.bias, o.padding_mode);
      });
  conv_properties<C>(c);
}

template <class C>
void transposed(nb::module_& m, const char* name) {
  LayerClass<C> c(m, name, nb::dynamic_attr());
  c.def(
       "__init__",
       [](Place<C> self, int64_t in, int64_t out, Shape kernel, Shape stride, Shape padding, Shape extra,
          int64_t groups, bool bias, Shape dilation, std::string mode, nb::handle, std::optional<DType> dtype) {
         make(self, in, out, kernel, nn::ConvOptions{stride, padding, dilation, groups, bias, mode, {}}, extra);
         if (dtype) self.p->to(*dtype);
       },
       nb::arg("in_channels"), nb::arg("out_channels"), nb::arg("kernel_size"), nb::arg("stride") = 1,
       nb::arg("padding") = 0, nb::arg("output_padding") = 0, nb::arg("groups") = 1, nb::arg("bias") = true,
       nb::arg("dilation") = 1, nb::arg("padding_mode") = "zeros", nb::arg("device").none() = nb::none(),
       nb::arg("dtype").none() = nb::none())
      .def("_arguments",
           [](C& l) {
             const nn::ConvOptions& o = l.options;
             return nb::make_tuple(l.in_channels, l.out_channels, l.kernel_size, o.stride, o.padding,
                                   l.output_padding, o.groups, o.bias, o.dilation, o.padding_mode);
           })
      .def_ro("output_padding", &C::output_padding);
  conv_properties<C>(c);
}

nb::object shown(const Shape& s) { return s.size() == 1 ? nb::cast(s[0]) : nb::cast(s); }

template <class P>
void max_pool(nb::module_& m, const char* name) {
  LayerClass<P>(m, name, nb::dynamic_attr())
      .def(
          "__init__",
          [](Place<P> self, Shape kernel, std::optional<Shape> stride, Shape padding, Shape dilation,
             bool return_indices, bool ceil_mode) {
            make(self, kernel, nn::PoolOptions{stride, padding, dilation, ceil_mode, true, {}});
            if (return_indices) nb::setattr(self.h, "return_indices", nb::cast(true));
          },
          nb::arg("kernel_size"), nb::arg("stride").none() = nb::none(), nb::arg("padding") = 0,
          nb::arg("dilation") = 1, nb::arg("return_indices") = false, nb::arg("ceil_mode") = false)
      .def("_arguments",
           [](P& l) {
             return nb::make_tuple(l.kernel_size, python(l.options.stride), l.options.padding, l.options.dilation,
                                   false, l.options.ceil_mode);
           })
      .def_prop_ro("kernel_size", [](P& l) { return shown(l.kernel_size); })
      .def(
          "forward",
          [](nb::handle self, const Tensor& x) -> nb::object {
            P& pool = nb::cast<P&>(self);
            if (!nb::hasattr(self, "return_indices")) return wrap(pool.P::forward(x));
            return nb::tuple(wrap_list(pool.forward_with_indices(x)));
          },
          nb::arg("input"));
}

void spatial_layers(nb::module_& m) {
  convolution<nn::Conv1d>(m, "Conv1d");
  convolution<nn::Conv2d>(m, "Conv2d");
  convolution<nn::Conv3d>(m, "Conv3d");
  transposed<nn::ConvTranspose1d>(m, "ConvTranspose1d");
  transposed<nn::ConvTranspose2d>(m, "ConvTranspose2d");
  transposed<nn::ConvTranspose3d>(m, "ConvTranspose3d");
  max_pool<nn::MaxPool1d>(m, "MaxPool1d");
  max_pool<nn::MaxPool2d>(m, "MaxPool2d");
  LayerClass<nn::AvgPool1d>(m, "AvgPool1d", nb::dynamic_attr())
      .def(
          "__init__",
          [](Place<nn::AvgPool1d> self, Shape kernel, std::optional<Shape> stride, Shape padding, bool ceil_mode,
             bool count) {
            make(self, kernel, nn::PoolOptions{stride, padding, {1}, ceil_mode, count, {}});
          },
          nb::arg("kernel_size"), nb::arg("stride").none() = nb::none(), nb::arg("padding") = 0,
          nb::arg("ceil_mode") = false, nb::arg("count_include_pad") = true)
      .def("_arguments",
           [](nn::AvgPool1d& l) {
             return nb::make_tuple(l.kernel_size, python(l.options.stride), l.options.padding, l.options.ceil_mode,
                                   l.options.count_include_pad);
           })
      .def(
          "forward", [](nn::AvgPool1d& l, const Tensor& x) { return l.nn::AvgPool1d::forward(x); }, nb::arg("input"));
  LayerClass<nn::AvgPool2d>(m, "AvgPool2d", nb::dynamic_attr())
      .def(
          "__init__",
          [](Place<nn::AvgPool2d> self, Shape kernel, std::optional<Shape> stride, Shape padding, bool ceil_mode,
             bool count, OptionalInt divisor) {
            make(self, kernel, nn::PoolOptions{stride, padding, {1}, ceil_mode, count, divisor});
          },
          nb::arg("kernel_size"), nb::arg("stride").none() = nb::none(), nb::arg("padding") = 0,
          nb::arg("ceil_mode") = false, nb::arg("count_include_pad") = true,
          nb::arg("divisor_override").none() = nb::none())
      .def("_arguments",
           [](nn::AvgPool2d& l) {
             return nb::make_tuple(l.kernel_size, python(l.options.stride), l.options.padding, l.options.ceil_mode,
                                   l.options.count_include_pad, python(l.options.divisor_override));
           })
      .def(
          "forward", [](nn::AvgPool2d& l, const Tensor& x) { return l.nn::AvgPool2d::forward(x); }, nb::arg("input"));

  // None keeps the input's size.
  auto adaptive = [&]<class P>(const char* name) {
    LayerClass<P>(m, name, nb::dynamic_attr())
        .def(
            "__init__",
            [](Place<P> self, nb::object size) {
              Shape s;
              if (nb::isinstance<nb::int_>(size) || size.is_none()) size = nb::make_tuple(size);
              for (nb::handle n : size) s.push_back(n.is_none() ? -1 : nb::cast<int64_t>(n));
              make(self, s);
            },
            nb::arg("output_size").none())
        .def("_arguments", [](P& l) { return nb::make_tuple(l.output_size); })
        .def(
            "forward", [](P& l, const Tensor& x) { return l.P::forward(x); }, nb::arg("input"));
  };
  adaptive.template operator()<nn::AdaptiveAvgPool1d>("AdaptiveAvgPool1d");
  adaptive.template operator()<nn::AdaptiveAvgPool2d>("AdaptiveAvgPool2d");
}

const Part layers{21, [](nb::module_& root) {
                    nb::module_ m = nb::borrow<nb::module_>(root.attr("_nn"));
                    basic_layers(m);
                    norm_layers(m);
                    spatial_layers(m);
                  }};

}  // namespace
}  // namespace sorus::python
