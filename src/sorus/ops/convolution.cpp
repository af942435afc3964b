// Convolutions: index notation for everything that is derived, oneDNN for the work.
#include "sorus/graph/index.h"
#include "sorus/kernels/conv.h"
#include "sorus/ops/apply.h"

namespace sorus {
namespace {

int64_t at(const Attr& list, int i) {
  const Shape& s = list.ints();
  return s[s.size() == 1 ? 0 : static_cast<size_t>(i)];
}

// Shapes without a batch stand for a batch of one.
kernels::ConvArgs conv_args(DType type, int spatial, Shape x, const Shape& w, Shape y, const Attr& stride,
                            const Attr& padding, const Attr& dilation, int64_t groups) {
  auto batched = static_cast<size_t>(spatial) + 2;
  if (x.size() < batched) x.insert(x.begin(), 1);
  if (y.size() < batched) y.insert(y.begin(), 1);
  kernels::ConvArgs a;
  a.type = type;
  a.spatial = spatial;
  a.batch = x[0], a.in_channels = x[1], a.out_channels = w[0], a.groups = groups;
  for (int i = 0; i < spatial; ++i) {
    auto d = static_cast<size_t>(i) + 2;
    a.in[i] = x[d], a.out[i] = y[d], a.kernel[i] = w[d];
    a.stride[i] = at(stride, i), a.padding[i] = at(padding, i), a.dilation[i] = at(dilation, i);
  }
  return a;
}

// Attributes of conv1d, conv2d and conv3d: stride, padding, dilation, groups.
template <int spatial>
void forward(const Call& c, std::span<Tensor> out) {
  const Tensor& x = c.input(0);
  auto a = conv_args(out[0].dtype(), spatial, x.sizes(), c.input(1).sizes(), out[0].sizes(), c.attr(0), c.attr(1),
                     c.attr(2), c.attr(3).to_int());
  kernels::conv_forward(a, x.data(), c.input(1).data(), c.has(2) ? c.input(2).data() : nullptr, out[0].data());
}
// A gradient is the product with the other factor's conjugate.
Tensor conjugated(const Tensor& t) { return is_complex(t.dtype()) ? apply("conj", {t}) : t; }

// grad0(grad, weight, .., sizes)
template <int spatial>
void to_input(const Call& c, std::span<Tensor> out) {
  auto a = conv_args(out[0].dtype(), spatial, out[0].sizes(), c.input(1).sizes(), c.input(0).sizes(), c.attr(0),
                     c.attr(1), c.attr(2), c.attr(3).to_int());
  kernels::conv_backward_data(a, c.input(0).data(), conjugated(c.input(1)).data(), out[0].data());
}
// grad1(grad, input, .., sizes)
template <int spatial>
void to_weight(const Call& c, std::span<Tensor> out) {
  auto a = conv_args(out[0].dtype(), spatial, c.input(1).sizes(), out[0].sizes(), c.input(0).sizes(), c.attr(0),
                     c.attr(1), c.attr(2), c.attr(3).to_int());
  kernels::conv_backward_weights(a, conjugated(c.input(1)).data(), c.input(0).data(), out[0].data(), nullptr);
}

const OpDef& conv1d =
    op("conv1d(input, weight, bias: Tensor? = none, stride: int[1] = 1, padding: int[1] = 0, dilation: int[1] = 1, "
       "groups: int = 1)")
        .index(
            "y[.., g*O + o, h] = bias[g*O + o] + sum(c, i) input[.., g*C + c, h*stride[0] + i*dilation[0] - "
            "padding[0]]"
            " * weight[g*O + o, c, i] where g < groups, O = size(weight, 0) / groups, C = size(weight, 1)")
        .kernel(forward<1>)
        .autocast(Autocast::lower)
        .doc("Convolution over one dimension.");
[[maybe_unused]] const bool conv1d_gradients =
    gradient_kernel("conv1d:grad0", to_input<1>) && gradient_kernel("conv1d:grad1", to_weight<1>);

const OpDef& conv2d =
    op("conv2d(input, weight, bias: Tensor? = none, stride: int[2] = 1, padding: int[2] = 0, dilation: int[2] = 1, "
       "groups: int = 1)")
        .index(
            "y[.., g*O + o, h, v] = bias[g*O + o] + sum(c, i, j)"
            " input[.., g*C + c, h*stride[0] + i*dilation[0] - padding[0], v*stride[1] + j*dilation[1] - padding[1]]"
            " * weight[g*O + o, c, i, j] where g < groups, O = size(weight, 0) / groups, C = size(weight, 1)")
        .kernel(forward<2>)
        .autocast(Autocast::lower)
        .doc("Convolution over two dimensions.");
[[maybe_unused]] const bool conv2d_gradients =
    gradient_kernel("conv2d:grad0", to_input<2>) && gradient_kernel("conv2d:grad1", to_weight<2>);

const OpDef& conv3d =
    op("conv3d(input, weight, bias: Tensor? = none, stride: int[3] = 1, padding: int[3] = 0, dilation: int[3] = 1, "
       "groups: int = 1)")
        .index(
            "y[.., g*O + o, u, h, v] = bias[g*O + o] + sum(c, i, j, k)"
            " input[.., g*C + c, u*stride[0] + i*dilation[0] - padding[0], h*stride[1] + j*dilation[1] - padding[1],"
            " v*stride[2] + k*dilation[2] - padding[2]] * weight[g*O + o, c, i, j, k]"
            " where g < groups, O = size(weight, 0) / groups, C = size(weight, 1)")
        .kernel(forward<3>)
        .autocast(Autocast::lower)
        .doc("Convolution over three dimensions.");
[[maybe_unused]] const bool conv3d_gradients =
    gradient_kernel("conv3d:grad0", to_input<3>) && gradient_kernel("conv3d:grad1", to_weight<3>);

// padding='same' and 'valid'; where the padding is odd, the larger half comes last, as in PyTorch.
template <int spatial>
TensorList named_padding(const Call& c, const OpDef& conv) {
  const std::string& mode = c.attr(1).string();
  SORUS_CHECK(mode == "same" || mode == "valid", ValueError,
              "{}: padding must be numbers, 'same' or 'valid', not '{}'", conv.name(), mode);
  Tensor x = c.input(0);
  Shape both(spatial, 0);
  if (mode == "same") {
    Shape pad(2 * spatial, 0);
    bool uneven = false;
    for (int i = 0; i < spatial; ++i) {
      SORUS_CHECK(at(c.attr(0), i) == 1, ValueError, "{}: padding='same' needs a stride of 1, not {}", conv.name(),
                  at(c.attr(0), i));
      int64_t total = at(c.attr(2), i) * (c.input(1).size(i + 2) - 1);
      both[static_cast<size_t>(i)] = total / 2;
      pad[2 * static_cast<size_t>(spatial - 1 - i) + 1] = total % 2;
      uneven |= total % 2 != 0;
    }
    if (uneven) x = apply("pad", {x}, {Attr(pad)});
  }
  return {call_one(conv, {x, c.input(1), c.has(2) ? c.input(2) : Tensor()},
                   {c.attr(0), Attr(both), c.attr(2), c.attr(3)})};
}
const OpDef& conv1d_named = op("conv1d.padding(input, weight, bias: Tensor? = none, stride: int[1] = 1, padding: str "
                               "= 'valid', dilation: int[1] = 1, groups: int = 1)")
                                .expand([](const Call& c) { return named_padding<1>(c, conv1d); });
const OpDef& conv2d_named = op("conv2d.padding(input, weight, bias: Tensor? = none, stride: int[2] = 1, padding: str "
                               "= 'valid', dilation: int[2] = 1, groups: int = 1)")
                                .expand([](const Call& c) { return named_padding<2>(c, conv2d); });
const OpDef& conv3d_named = op("conv3d.padding(input, weight, bias: Tensor? = none, stride: int[3] = 1, padding: str "
                               "= 'valid', dilation: int[3] = 1, groups: int = 1)")
                                .expand([](const Call& c) { return named_padding<3>(c, conv3d); });

// The result's index is the sum here, so the bias, which belongs to elements of the result, is added afterwards.
Tensor with_bias(const Call& c, const OpDef& product, int spatial) {
  Tensor y = call_one(product, {c.input(0), c.input(1)}, c.attrs);
  if (!c.has(2)) return y;
  Shape shape(static_cast<size_t>(spatial) + 1, 1);
  shape[0] = c.input(2).size(0);
  return apply("add", {y, apply("reshape", {c.input(2)}, {Attr(shape)})});
}

// Attributes of the products: stride, padding, output_padding, groups, dilation. The result of a transposed
// convolution is the input of the convolution with the same weight: it is computed as that one's gradient, and its
// gradients by that convolution and the gradient of its weight. `wide` is on the side of the transposed convolution's
// result.
template <int spatial>
kernels::ConvArgs transposed_args(const Call& c, DType type, const Shape& wide, const Shape& weight,
                                  const Shape& narrow) {
  return conv_args(type, spatial, wide, weight, narrow, c.attr(0), c.attr(1), c.attr(4), c.attr(3).to_int());
}
template <int spatial>
void transposed_forward(const Call& c, std::span<Tensor> out) {
  auto a = transposed_args<spatial>(c, out[0].dtype(), out[0].sizes(), c.input(1).sizes(), c.input(0).sizes());
  kernels::conv_backward_data(a, c.input(0).data(), c.input(1).data(), out[0].data());
}
// grad0(grad, weight, .., sizes)
template <int spatial>
void transposed_to_input(const Call& c, std::span<Tensor> out) {
  auto a = transposed_args<spatial>(c, out[0].dtype(), c.input(0).sizes(), c.input(1).sizes(), out[0].sizes());
  kernels::conv_forward(a, c.input(0).data(), conjugated(c.input(1)).data(), nullptr, out[0].data());
}
// grad1(grad, input, .., sizes)
template <int spatial>
void transposed_to_weight(const Call& c, std::span<Tensor> out) {
  auto a = transposed_args<spatial>(c, out[0].dtype(), c.input(0).sizes(), out[0].sizes(), c.input(1).sizes());
  kernels::conv_backward_weights(a, c.input(0).data(), conjugated(c.input(1)).data(), out[0].data(), nullptr);
}

const OpDef& transpose1d = op("conv_transpose1d_product(input, weight, stride: int[1] = 1, padding: int[1] = 0, "
                              "output_padding: int[1] = 0, groups: int = 1, dilation: int[1] = 1)")
                               .index(
                                   "y[.., g*O + o, h*stride[0] + i*dilation[0] - padding[0] :"
                                   " (size(input, -1) - 1)*stride[0] - 2*padding[0] + dilation[0]*(size(weight, 2) - "
                                   "1) + output_padding[0] + 1]"
                                   " = sum(c) input[.., g*C + c, h] * weight[g*C + c, o, i]"
                                   " where g < groups, O = size(weight, 1), C = size(weight, 0) / groups")
                               .kernel(transposed_forward<1>)
                               .autocast(Autocast::lower);
[[maybe_unused]] const bool transpose1d_gradients =
    gradient_kernel("conv_transpose1d_product:grad0", transposed_to_input<1>) &&
    gradient_kernel("conv_transpose1d_product:grad1", transposed_to_weight<1>);
const OpDef& conv_transpose1d =
    op("conv_transpose1d(input, weight, bias: Tensor? = none, stride: int[1] = 1, padding: int[1] = 0, "
       "output_padding: int[1] = 0, groups: int = 1, dilation: int[1] = 1)")
        .expand([](const Call& c) { return TensorList{with_bias(c, transpose1d, 1)}; })
        .doc("The transpose of `conv1d`.");

const OpDef& transpose2d = op("conv_transpose2d_product(input, weight, stride: int[2] = 1, padding: int[2] = 0, "
                              "output_padding: int[2] = 0, groups: int = 1, dilation: int[2] = 1)")
                               .index(
                                   "y[.., g*O + o, h*stride[0] + i*dilation[0] - padding[0] :"
                                   " (size(input, -2) - 1)*stride[0] - 2*padding[0] + dilation[0]*(size(weight, 2) - "
                                   "1) + output_padding[0] + 1,"
                                   " v*stride[1] + j*dilation[1] - padding[1] :"
                                   " (size(input, -1) - 1)*stride[1] - 2*padding[1] + dilation[1]*(size(weight, 3) - "
                                   "1) + output_padding[1] + 1]"
                                   " = sum(c) input[.., g*C + c, h, v] * weight[g*C + c, o, i, j]"
                                   " where g < groups, O = size(weight, 1), C = size(weight, 0) / groups")
                               .kernel(transposed_forward<2>)
                               .autocast(Autocast::lower);
[[maybe_unused]] const bool transpose2d_gradients =
    gradient_kernel("conv_transpose2d_product:grad0", transposed_to_input<2>) &&
    gradient_kernel("conv_transpose2d_product:grad1", transposed_to_weight<2>);
const OpDef& conv_transpose2d =
    op("conv_transpose2d(input, weight, bias: Tensor? = none, stride: int[2] = 1, padding: int[2] = 0, "
       "output_padding: int[2] = 0, groups: int = 1, dilation: int[2] = 1)")
        .expand([](const Call& c) { return TensorList{with_bias(c, transpose2d, 2)}; })
        .doc("The transpose of `conv2d`.");

const OpDef& transpose3d = op("conv_transpose3d_product(input, weight, stride: int[3] = 1, padding: int[3] = 0, "
                              "output_padding: int[3] = 0, groups: int = 1, dilation: int[3] = 1)")
                               .index(
                                   "y[.., g*O + o, u*stride[0] + i*dilation[0] - padding[0] :"
                                   " (size(input, -3) - 1)*stride[0] - 2*padding[0] + dilation[0]*(size(weight, 2) - "
                                   "1) + output_padding[0] + 1,"
                                   " h*stride[1] + j*dilation[1] - padding[1] :"
                                   " (size(input, -2) - 1)*stride[1] - 2*padding[1] + dilation[1]*(size(weight, 3) - "
                                   "1) + output_padding[1] + 1,"
                                   " v*stride[2] + k*dilation[2] - padding[2] :"
                                   " (size(input, -1) - 1)*stride[2] - 2*padding[2] + dilation[2]*(size(weight, 4) - "
                                   "1) + output_padding[2] + 1]"
                                   " = sum(c) input[.., g*C + c, u, h, v] * weight[g*C + c, o, i, j, k]"
                                   " where g < groups, O = size(weight, 1), C = size(weight, 0) / groups")
                               .kernel(transposed_forward<3>)
                               .autocast(Autocast::lower);
[[maybe_unused]] const bool transpose3d_gradients =
    gradient_kernel("conv_transpose3d_product:grad0", transposed_to_input<3>) &&
    gradient_kernel("conv_transpose3d_product:grad1", transposed_to_weight<3>);
const OpDef& conv_transpose3d =
    op("conv_transpose3d(input, weight, bias: Tensor? = none, stride: int[3] = 1, padding: int[3] = 0, "
       "output_padding: int[3] = 0, groups: int = 1, dilation: int[3] = 1)")
        .expand([](const Call& c) { return TensorList{with_bias(c, transpose3d, 3)}; })
        .doc("The transpose of `conv3d`.");

}  // namespace
}  // namespace sorus
