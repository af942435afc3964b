// Samples of operators whose definition does not say enough to make them; samples.h explains the lines.
#include "operators/samples.h"

namespace sorus::harness {
namespace {

struct Lines {
  const char* name;
  std::vector<std::string> lines;
};

const std::vector<Lines>& table() {
  static const std::vector<Lines> all{
      // elementwise, where the domain is not the same for all tensors
      {"pow", {"p[a,b] f[a,b]", "p[a,b] f[b]", "p[] f[]"}},
      {"floor_divide", {"f[a,b] p[a,b]", "f[a,b] p[b]"}},
      {"acosh", {"q[a,b]", "q[d]"}},
      {"where", {"b[a,b] f[a,b] f[a,b]", "b[b] f[a,1] f[]"}},
      {"masked_fill", {"f[a,b] b[a,b] f[]", "f[a,b,c] b[b,1] f[]"}},
      {"bitwise_and", {"i9[a,b] i9[b]"}},
      {"bitwise_or", {"i9[a,b] i9[b]"}},
      {"bitwise_xor", {"i9[a,b] i9[b]"}},
      {"adam", {"f[a,b] f[a,b] f[a,b] p[a,b] p[] p[] p[] p[] rate1=0.1 rate2=0.01 eps=1e-3"}},
      {"adam.amsgrad", {"f[a,b] f[a,b] f[a,b] p[a,b] p[a,b] p[] p[] p[] p[] rate1=0.1 rate2=0.01 eps=1e-3"}},
      {"sgd.momentum",
       {"f[a,b] f[a,b] f[a,b] p[] p[] p[] momentum=0.9 nesterov=false",
        "f[a,b] f[a,b] f[a,b] p[] p[] p[] momentum=0.9 nesterov=true"}},
      {"prelu", {"f[a,3,b] f[3]", "f[a,b] f[1]", "f[a] f[]"}},
      {"glu", {"f[a,4]", "f[6,b] dim=0"}},
      {"hardtanh", {"f[a,b]", "f[a,b] min_val=-0.4 max_val=1.3"}},
      {"threshold", {"f[a,b] threshold=0.3 value=-2.0"}},
      {"gelu", {"f[a,b]", "f[a,b] approximate=\"tanh\""}},
      {"clamp", {"f[a,b] min=-0.5 max=0.7", "f[a,b] min=-0.5", "f[a,b] max=0.7"}},

      // creation, copies, types
      {"full", {"size=[a,b] fill_value=1.5", "size=[] fill_value=3", "size=[a] fill_value=true dtype=i64"}},
      {"zeros", {"size=[a,b]", "size=[a] dtype=i32"}},
      {"ones", {"size=[a,b]", "size=[] dtype=bf16"}},
      {"empty", {"size=[a,b]", "size=[a] dtype=i64"}},
      {"full_like", {"f[a,b] fill_value=2.5", "f[a,b] fill_value=2 dtype=i16"}},
      {"zeros_like", {"f[a,b]"}},
      {"ones_like", {"f[a,b]"}},
      {"arange", {"start=2 end=9 step=3", "start=5 end=-4 step=-2", "start=0.5 end=2.5 step=0.25", "start=0 end=4 dtype=f32"}},
      {"arange.end", {"end=7", "end=3.5"}},
      {"cast", {"f[a,b] dtype=f32", "f[a,b] dtype=f64", "f[a,b] dtype=bf16"}},
      {"to", {"f[a,b] dtype=f32", "f[a,b] dtype=f16", "f[a,b] dtype=i64"}},
      {"copy", {"f[a,b] f[a,b]", "f[a,b] f[b]"}},
      {"cat", {"f[a,b] f[a,c] dim=1", "f[a,b] f[c,b] f[d,b]", "f[a] f[a] dim=-1"}},
      {"stack", {"f[a,b] f[a,b]", "f[a,b] f[a,b] dim=-1"}},
      {"slice_backward", {"f[a,3,b] size=[a,9,b] dim=1 start=2 step=3", "f[3] size=[8] dim=0 start=0 step=1"}},
      {"as_strided_scatter", {"f[4,6] f[2,3] size=[2,3] stride=[6,2] storage_offset=1"}},
      {"as_strided_backward", {"f[3,3] input_size=[3,6] size=[3,3] stride=[2,1] storage_offset=1"}},
      {"sum_to_size", {"f[a,b,c] size=[b,1]", "f[a,b] size=[a,b]", "f[a,b] size=[]"}},
      {"expand_as", {"f[b,1] f[a,b,c]"}},
      {"pad",
       {"f[a,4] pad=[1,2]", "f[a,4,5] pad=[1,0,-1,2] value=1.5", "f[a,4,5] pad=[2,1,1,1] mode=\"reflect\"",
        "f[a,4] pad=[2,2] mode=\"replicate\"", "f[a,4] pad=[1,3] mode=\"circular\""}},

      // quantised
      {"requantize",
       {"s32[a,b] i9[b] i4[b] zero_point=-3 quant_min=-128 quant_max=127 dtype=i8",
        "s32[a,c] s32[1] i4[] zero_point=7 quant_min=0 quant_max=255 dtype=u8"}},
      {"requantize_wide", {"s32[a,b] s32[b] i4[b] zero_point=-3 quant_min=-32768 quant_max=32767 dtype=i16"}},
      {"requantize_real",
       {"s32[a,b] o[b] s8[] quant_min=-128 quant_max=127 dtype=i8", "s16[a,b] p[] u8[] quant_min=0 quant_max=255 dtype=u8"}},
      {"quantize_linear", {"f[a,b] o[b] s8[b] quant_min=-128 quant_max=127 dtype=i8"}},
      {"dequantize_linear", {"s8[a,b] o[b] s8[b]", "u8[a,b] p[] u8[]"}},
      {"quantize", {"f[a,b] scale=0.02 zero_point=3 quant_min=-128 quant_max=127 dtype=i8"}},
      {"dequantize", {"s8[a,b] scale=0.02 zero_point=3", "u8[a] scale=0.5 zero_point=128"}},
      {"quantized_add",
       {"s8[a,b] s8[b] left_shift=20 input_zero_point=3 input_multiplier=1073741824 input_shift=0 other_zero_point=-5 "
        "other_multiplier=1734567890 other_shift=-1 zero_point=7 multiplier=1573741824 shift=-18 quant_min=-128 "
        "quant_max=127"}},
      {"quantized_sub",
       {"s8[a,b] s8[a,1] left_shift=20 input_zero_point=3 input_multiplier=1073741824 input_shift=0 other_zero_point=-5 "
        "other_multiplier=1734567890 other_shift=-1 zero_point=7 multiplier=1573741824 shift=-18 quant_min=-100 "
        "quant_max=127"}},
      {"quantized_mul",
       {"s8[a,b] s8[a,b] input_zero_point=3 other_zero_point=-5 zero_point=7 multiplier=1573741824 shift=-6 "
        "quant_min=-128 quant_max=127",
        "u8[a,b] u8[] input_zero_point=128 other_zero_point=100 zero_point=7 multiplier=1573741824 shift=-6 quant_min=0 "
        "quant_max=255"}},
      {"rounded_divide", {"s32[a,b] i9[1]", "s16[a,b] s32[a,b]"}},
      {"quantized_leaky_relu",
       {"s8[a,b] input_zero_point=-9 zero_point=4 multiplier=1573741824 shift=0 negative_multiplier=1273741824 "
        "negative_shift=-3 quant_min=-128 quant_max=127"}},
      {"quantized_prelu",
       {"s8[a,b] s8[b] input_zero_point=-9 weight_zero_point=2 zero_point=4 multiplier=1573741824 shift=0 "
        "negative_multiplier=1273741824 negative_shift=-6 quant_min=-128 quant_max=127"}},
      {"quantized_hardswish",
       {"s8[a,b] input_zero_point=-9 zero_point=-20 multiplier=23456 shift=-7 relu_multiplier=17000 relu_shift=1 "
        "quant_min=-128 quant_max=127",
        "s8[a,b] input_zero_point=-9 zero_point=-20 multiplier=23456 shift=-7 relu_multiplier=17000 relu_shift=-2 "
        "quant_min=-128 quant_max=127"}},
      {"quantized_sigmoid",
       {"s8[a,b] input_zero_point=4 multiplier=1573741824 shift=22 input_radius=100 quant_min=-128 quant_max=127"}},
      {"quantized_tanh",
       {"s8[a,b] input_zero_point=4 zero_point=0 multiplier=1573741824 shift=22 input_radius=100 quant_min=-128 "
        "quant_max=127"}},
      {"fixed_exp", {"i9[a,b] multiplier=1573741824 left_shift=3 diff_min=-200"}},
      {"fixed_round", {"s32[a,b] bits=7", "s16[a] bits=0"}},
      {"fixed_reciprocal", {"i999999[a,1]"}},
      {"fixed_share", {"s32[a,b] s32[a,1] i4[a,1] bits=8 dtype=i8"}},
      {"quantized_softmax",
       {"s8[a,b] multiplier=1573741824 left_shift=22 diff_min=-248 dtype=i8",
        "u8[a,b,c] multiplier=1273741824 left_shift=21 diff_min=-400 dtype=i16"}},
      {"integer_conv2d",
       {"s8[a,5,6,3] s8[4,3,3,3] s32[4] input_zero_point=3",
        "u8[a,5,6,4] u8[4,2,3,2] none stride=[2,1] padding=[1,0,2,1] dilation=[1,2] groups=2 input_zero_point=100 "
        "weight_zero_point=90"}},
      {"integer_linear", {"s8[a,b] s8[c,b] s32[c] input_zero_point=3", "s16[a,d,b] s8[c,b]"}},
      {"window_sum2d", {"s8[a,5,6,c] kernel_size=[2,3] stride=[2,1] padding=[0,1,1,1]"}},
      {"quantized_conv2d",
       {"s8[a,5,6,3] s8[4,3,3,3] s32[4] i4[4] s32[4] stride=[2,1] padding=[0,1,1,1] input_zero_point=3 zero_point=-5",
        "s8[a,5,6,4] s8[8,2,3,1] s32[1] i4[1] none dilation=[1,2] groups=4 input_zero_point=-30 quant_min=-20",
        "s16[a,4,4,2] s8[3,1,1,2] s32[3] i4[3]", "u8[a,4,4,4] u8[4,2,2,2] s32[1] i4[1] s32[4] groups=2 "
        "input_zero_point=120 weight_zero_point=130 zero_point=7 quant_min=0 quant_max=255"}},
      {"quantized_linear",
       {"s8[a,b] s8[c,b] s32[c] i4[c] s32[c] input_zero_point=3 zero_point=-5", "s16[a,d,b] s8[c,b] s32[1] i4[1]"}},
      {"quantized_avg_pool2d", {"s8[a,5,6,c] kernel_size=[2,3] stride=[2,1] padding=[0,1,1,1] quant_min=-100"}},
      {"window_max2d", {"s8[a,5,6,c] kernel_size=[2,3] stride=[2,1] padding=[0,1,1,1]"}},
      {"quantized_max_pool2d",
       {"s8[a,5,6,c] kernel_size=[2,3] stride=[2,1] padding=[0,1,1,1] quant_min=-100",
        "u8[a,4,4,c] kernel_size=[2,2] stride=[2,2] quant_min=0 quant_max=200"}},
      {"integer_conv_transpose2d",
       {"s8[a,3,4,2] s8[3,3,2,2] stride=[2,1] padding=[1,0] output_size=[6,5] input_zero_point=5"}},
      {"quantized_conv_transpose2d",
       {"s8[a,3,4,2] s8[3,3,2,2] s32[3] i4[3] s32[3] stride=[2,1] padding=[1,0] output_size=[6,5] input_zero_point=5"}},
      {"quantized_resize_bilinear",
       {"s8[a,3,4,c] size=[5,7]", "s8[a,3,4,c] size=[5,7] half_pixel_centers=true", "u8[a,3,4,c] size=[2,6] align_corners=true"}},
      {"quantized_sum",
       {"s8[a,3,4,c] dim=[1,2] keepdim=false input_zero_point=4 zero_point=-3 multiplier=1573741824 shift=-4 "
        "quant_min=-128 quant_max=127"}},
      {"quantized_matmul",
       {"s8[a,b,c] s8[a,c,d] input_zero_point=4 other_zero_point=-3 zero_point=2 multiplier=1573741824 shift=-8 "
        "quant_min=-128 quant_max=127"}},
      {"quantized_svdf",
       {"s8[a,3] s16[a,16] s8[4,3] s16[4,4] s32[2] rank=2 input_zero_point=4 feature_multiplier=1573741824 "
        "feature_shift=-3 zero_point=2 multiplier=1573741824 shift=-12"}},

      // views
      {"reshape", {"f[a,b,c] shape=[-1,c]", "f[6,4] shape=[2,3,4]", "f[4,6] shape=[8,3]", "f[a,b] shape=[a,1,b]", "f[1] shape=[]"}},
      {"view", {"f[6,4] shape=[2,3,4]", "f[a,b] shape=[-1]"}},
      {"squeeze", {"f[a,1,b,1]", "f[a,1,b,1] dim=[1]", "f[a,1,b,1] dim=[0,-1]"}},
      {"unsqueeze", {"f[a,b] dim=1", "f[a,b] dim=-1", "f[] dim=0"}},
      {"permute", {"f[a,b,c] dims=[2,0,1]", "f[a,b] dims=[-1,0]"}},
      {"transpose", {"f[a,b,c] dim0=0 dim1=-1", "f[a,b] dim0=1 dim1=1"}},
      {"expand", {"f[b,1] size=[a,b,c]", "f[a,1] size=[-1,d]", "f[] size=[a]"}},
      {"slice", {"f[a,7,b] dim=1 start=1 end=6 step=2", "f[a,b] dim=0 start=-1", "f[a,b] dim=1", "f[8] end=-3"}},
      {"select", {"f[a,3,b] dim=1 index=-1", "f[4] dim=0 index=2"}},
      {"diagonal", {"f[4,5]", "f[a,4,5] offset=1 dim1=1 dim2=2", "f[5,a,4] offset=-2 dim1=0 dim2=-1"}},
      {"as_strided", {"f[4,6] size=[2,3] stride=[6,2] storage_offset=1", "f[9] size=[3,3] stride=[2,1]"}},
      {"flatten", {"f[a,b,c]", "f[a,b,c] start_dim=1", "f[]"}},
      {"unflatten", {"f[a,6] dim=1 sizes=[2,-1]", "f[8,b] dim=-2 sizes=[2,4]"}},
      {"t", {"f[a,b]", "f[a]"}},
      {"narrow", {"f[a,5] dim=1 start=1 length=3"}},
      {"split", {"f[7,a] split_size=[3]", "f[a,6] split_size=[1,5] dim=1"}},
      {"chunk", {"f[7,a] chunks=3", "f[a,4] chunks=2 dim=-1"}},
      {"unbind", {"f[3,a]", "f[a,3] dim=1"}},

      // indices
      {"index", {"f[5,b] i5[c] dims=[0]", "f[4,b,5] i4[c] i5[c] dims=[0,2]", "f[4,5,b] i4[c,1] i5[d] dims=[0,1]"}},
      {"index_put",
       {"f[5,b] i5[3] f[3,b] dims=[0] accumulate=true", "f[5] i5[1] f[] dims=[0]",
        "f[4,5,b] i4[c] i5[c] f[c,b] dims=[0,1] accumulate=true"}},
      {"index_select", {"f[a,5] i5[c] dim=1", "f[4,b] i4[2] dim=0"}},
      {"take", {"f[3,4] i12[c,b]"}},
      {"masked_select", {"f[a,b] b[a,b]", "f[a,b] b[b]"}},
      {"nonzero", {"b[a,b]"}},
      {"embedding", {"i7[a,b] f[7,d]", "i5[a] f[5,d] padding_idx=2"}},
      {"embedding_backward", {"f[a,b,d] i7[a,b] num_weights=7", "f[a,d] i5[a] num_weights=5 padding_idx=2"}},
      {"gather", {"f[a,5] i5[a,c] dim=1", "f[4,b] i4[6,b] dim=0", "f[4,6,b] i4[2,5,b] dim=0"}},
      {"scatter_add", {"f[a,5] i5[a,c] f[a,c] dim=1", "f[4,b] i4[6,b] f[6,b] dim=0"}},

      // reductions and norms
      {"prod.dims", {"f[a,b,c] dim=[1]", "f[a,b,c] dim=[0,-1] keepdim=true", "f[a,b] dim=none"}},
      {"argmax", {"f[a,b] dim=1", "f[a,b,c] dim=0 keepdim=true", "f[a,b]"}},
      {"argmin", {"f[a,b] dim=1", "f[a,b,c] dim=0 keepdim=true", "f[a,b]"}},
      {"max.dim", {"f[a,b] dim=1", "f[a,b,c] dim=0 keepdim=true"}},
      {"min.dim", {"f[a,b] dim=1", "f[a,b,c] dim=0 keepdim=true"}},
      {"mean", {"f[a,b,c]", "f[a,b,c] dim=[0,2]", "f[a,b] dim=[-1] keepdim=true"}},
      {"var", {"f[a,b,c]", "f[a,b,c] dim=[0,2]", "f[a,b] dim=[-1] keepdim=true correction=0"}},
      {"std", {"f[a,b,c]", "f[a,b,c] dim=[0,2]", "f[a,b] dim=[-1] keepdim=true correction=0"}},
      {"var.unbiased", {"f[a,b] dim=[1] unbiased=true"}},
      {"std.unbiased", {"f[a,b] dim=[1] unbiased=false"}},
      {"linalg.vector_norm", {"f[a,b]", "f[a,b] ord=1 dim=[1]", "f[a,b] ord=3 dim=[0] keepdim=true", "f[a,b] ord=inf dim=[1]", "f[a,b] ord=0 dim=[1]"}},
      {"norm", {"f[a,b]", "f[a,b] p=1 dim=[1]", "f[a,b] p=-2 dim=[0]"}},
      {"logsumexp", {"f[a,b] dim=[1]", "f[a,b,c] dim=[0,2] keepdim=true"}},
      {"softmax", {"f[a,b] dim=1", "f[a,b,c] dim=0", "f[a,b] dim=-1 dtype=f64"}},
      {"log_softmax", {"f[a,b] dim=1", "f[a,b,c] dim=0"}},
      {"layer_norm", {"f[a,b,d] f[d] f[d] normalized_shape=[d]", "f[a,b,d] f[b,d] none normalized_shape=[b,d]", "f[a,d] normalized_shape=[d]"}},
      {"group_norm", {"f[a,4,b] f[4] f[4] num_groups=2", "f[a,6,b,c] num_groups=3"}},
      {"rms_norm", {"f[a,b,d] f[d] normalized_shape=[d]", "f[a,d] none normalized_shape=[d] eps=0.01"}},

      // products, convolutions, windows
      {"matmul", {"f[a,b] f[b,c]", "f[b] f[b,c]", "f[a,b] f[b]", "f[b] f[b]", "f[d,a,b] f[b,c]", "f[d,1,a,b] f[c,b,b]"}},
      {"addmm", {"f[c] f[a,b] f[b,c]", "f[a,c] f[a,b] f[b,c] beta=0.5 alpha=2.0"}},
      {"baddbmm", {"f[d,a,c] f[d,a,b] f[d,b,c]", "f[c] f[d,a,b] f[d,b,c] beta=0 alpha=2.0"}},
      {"einsum", {"f[a,b,c] f[d,c] equation=\"bij,kj->bki\"", "f[b,b] equation=\"ii->i\"", "f[a,b] f[a,b] equation=\"ij,ij->\""}},
      {"conv1d",
       {"f[a,4,9] f[6,4,3] f[6]", "f[a,4,9] f[6,2,3] none stride=[2] padding=[1] dilation=[2] groups=2", "f[4,7] f[2,4,1]"}},
      {"conv2d",
       {"f[a,4,6,5] f[6,4,3,2] f[6]", "f[a,4,7,6] f[6,2,3,3] f[6] stride=[2,1] padding=[1,2] dilation=[1,2] groups=2",
        "f[a,4,5,5] f[4,1,3,3] none padding=[1] groups=4", "f[3,5,5] f[2,3,1,1]"}},
      {"conv_transpose1d_product", {"f[a,4,5] f[4,3,3]", "f[a,4,5] f[4,3,2] stride=[2] padding=[1] output_padding=[1] groups=2"}},
      {"conv_transpose1d", {"f[a,4,5] f[4,3,3] f[3]", "f[a,4,5] f[4,3,2] none stride=[2] padding=[1] output_padding=[1] groups=2"}},
      {"conv_transpose2d_product",
       {"f[a,4,3,4] f[4,3,3,2]", "f[a,4,3,4] f[4,2,3,2] stride=[2,1] padding=[1,0] output_padding=[1,0] groups=2 dilation=[1,2]"}},
      {"conv_transpose2d", {"f[a,4,3,4] f[4,3,3,2] f[3]", "f[a,4,3,4] f[4,2,3,2] f[4] stride=[2,1] groups=2"}},
      {"window_sum", {"f[a,b,6,7] kernel_size=[3,2] stride=[2,1] padding=[1,0] places=[3,6]"}},
      {"max_pool1d_with_indices", {"f[a,b,8] kernel_size=[3]", "f[b,8] kernel_size=[3] stride=[2] padding=[1] dilation=[2] ceil_mode=true"}},
      {"max_pool2d_with_indices",
       {"f[a,b,6,8] kernel_size=[3,2]", "f[b,6,8] kernel_size=[3,2] stride=[2,1] padding=[1,0] dilation=[1,2] ceil_mode=true"}},
      {"max_pool1d", {"f[a,b,8] kernel_size=[3]"}},
      {"max_pool2d", {"f[a,b,6,8] kernel_size=[3,2]", "f[b,6,8] kernel_size=[2,2] stride=[1,1] padding=[1,1]"}},
      {"avg_pool1d", {"f[a,b,8] kernel_size=[3]", "f[a,b,8] kernel_size=[3] stride=[2] padding=[1] count_include_pad=false"}},
      {"avg_pool2d",
       {"f[a,b,6,8] kernel_size=[3,2]", "f[a,b,6,7] kernel_size=[3,3] stride=[2,2] padding=[1,1] ceil_mode=true count_include_pad=false",
        "f[a,b,6,8] kernel_size=[2,2] divisor_override=3"}},
      {"adaptive_avg_pool1d", {"f[a,b,8] output_size=[4]", "f[b,7] output_size=[3]"}},
      {"adaptive_avg_pool2d", {"f[a,b,6,8] output_size=[3,4]", "f[a,b,5,7] output_size=[3,2]"}},

      // losses, attention
      {"cross_entropy",
       {"f[a,5] i5[a]", "f[a,5,b] i5[a,b] reduction=\"sum\"", "f[5] i5[]", "f[a,5] i5[a] p[5] label_smoothing=0.1",
        "f[a,5] p[a,5] reduction=\"none\""}},
      {"cross_entropy_classes", {"f[a,5] i5[a]", "f[a,5] i5[a] ignore_index=2 reduction=\"none\"", "f[a,b,5] i5[a,b] reduction=\"sum\""}},
      {"cross_entropy_classes_backward",
       {"f[] f[a,5] i5[a]", "f[a] f[a,5] i5[a] ignore_index=2 reduction=\"none\"", "f[] f[a,b,5] i5[a,b] reduction=\"sum\""}},
      {"nll_loss", {"f[a,5] i5[a]", "f[a,5] i5[a] p[5] reduction=\"none\""}},
      {"mse_loss", {"f[a,b] f[a,b]", "f[a,b] f[a,b] reduction=\"none\""}},
      {"l1_loss", {"f[a,b] f[a,b] reduction=\"sum\""}},
      {"binary_cross_entropy_each", {"o[a,b] o[a,b]"}},
      {"binary_cross_entropy", {"o[a,b] o[a,b]", "o[a,b] o[a,b] p[b] reduction=\"sum\""}},
      {"binary_cross_entropy_with_logits", {"f[a,b] o[a,b]", "f[a,b] o[a,b] p[b] p[b] reduction=\"none\""}},
      {"smooth_l1_each", {"f[a,b] f[a,b] beta=0.7"}},
      {"huber_each", {"f[a,b] f[a,b] delta=0.7"}},
      {"smooth_l1_loss", {"f[a,b] f[a,b]", "f[a,b] f[a,b] beta=0.5 reduction=\"sum\""}},
      {"huber_loss", {"f[a,b] f[a,b]", "f[a,b] f[a,b] p[a,b] delta=0.5 reduction=\"sum\""}},
      {"kl_div", {"f[a,b] p[a,b]", "f[a,b] f[a,b] log_target=true reduction=\"batchmean\""}},
      {"poisson_nll_loss", {"f[a,b] p[a,b]", "p[a,b] p[a,b] log_input=false full=true"}},
      {"gaussian_nll_loss", {"f[a,b] f[a,b] p[a,b]", "f[a,b] f[a,b] p[a] full=true reduction=\"sum\""}},
      {"soft_margin_loss", {"f[a,b] f[a,b]"}},
      {"hinge_embedding_loss", {"f[a,b] i3[a,b]"}},
      {"margin_ranking_loss", {"f[a] f[a] f[a] margin=0.1"}},
      {"cosine_embedding_loss", {"f[a,b] f[a,b] i2[a]"}},
      {"cosine_similarity", {"f[a,b] f[a,b]", "f[a,b,c] f[a,b,c] dim=-1"}},
      {"pairwise_distance", {"f[a,b] f[a,b]", "f[a,b] f[a,b] p=1.5 keepdim=true"}},
      {"normalize", {"f[a,b]", "f[a,b,c] p=1 dim=-1"}},
      {"triplet_margin_loss", {"f[a,b] f[a,b] f[a,b]", "f[a,b] f[a,b] f[a,b] swap=true reduction=\"none\""}},
      {"flash_attention",
       {"f[a,4,5,6] f[a,4,7,6] f[a,4,7,8] is_causal=false scale=0.4", "f[a,4,5,6] f[a,2,5,6] f[a,2,5,6] is_causal=true scale=0.4"}},
      {"flash_attention_backward", {"via flash_attention"}},
      {"scaled_dot_product_attention",
       {"f[a,4,5,6] f[a,4,7,6] f[a,4,7,8]", "f[a,4,5,6] f[a,2,5,6] f[a,2,5,6] is_causal=true",
        "f[a,4,5,6] f[a,4,7,6] f[a,4,7,8] f[5,7] scale=0.3", "f[a,5,6] f[a,5,6] f[a,5,6] is_causal=true"}},

      // among ranks; here there is one
      {"all_reduce", {"f[a,b]", "f[] op=\"sum\""}},
      {"all_gather", {"f[a,b] dim=1 parts=1"}},
      {"reduce_scatter", {"f[a,b] dim=0 parts=1"}},
      {"all_to_all", {"f[a,b] split_dim=0 concat_dim=1 parts=1"}},

      // draws
      {"rand_from", {"k[2] size=[a,b]", "k[2] size=[d] dtype=bf16"}},
      {"dropout_from", {"f[a,b] k[2] p=0.4"}},
      {"randn_from", {"k[2] size=[a,b]", "k[2] size=[d] dtype=f64"}},
  };
  return all;
}

}  // namespace

std::vector<std::string> table_samples(const std::string& name) {
  for (const Lines& l : table())
    if (name == l.name) return l.lines;
  return {};
}

std::vector<std::string> table_names() {
  std::vector<std::string> out;
  for (const Lines& l : table()) out.emplace_back(l.name);
  return out;
}

}  // namespace sorus::harness
