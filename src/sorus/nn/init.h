// Initialisation of parameters, in place and without record of gradients (torch.nn.init).
#pragma once

#include <optional>
#include <string>

#include "sorus/nn/random.h"

namespace sorus::nn {

struct Fans {
  int64_t in, out;
};
/// Of a weight [out, in, window..]; ValueError below two dimensions.
Fans fans_of(const Tensor& t);
/// The factor that keeps the variance through `nonlinearity` (linear, sigmoid, tanh, relu, leaky_relu, selu, conv1d,
/// ...).
double calculate_gain(const std::string& nonlinearity, std::optional<double> param = std::nullopt);

namespace init {

void constant_(const Tensor& t, double value);
/// The identity matrix.
void eye_(const Tensor& t);
/// Keeps as many channels as fit through a convolution.
void dirac_(const Tensor& t, int64_t groups = 1);
/// Normal numbers within [low, high]; what falls outside is not clipped but never drawn.
void trunc_normal_(const Tensor& t, double mean, double deviation, double low, double high,
                   Generator& generator = default_generator());
/// Glorot, Bengio 2010.
void xavier_uniform_(const Tensor& t, double gain = 1, Generator& generator = default_generator());
void xavier_normal_(const Tensor& t, double gain = 1, Generator& generator = default_generator());
/// He et al. 2015. `mode`: fan_in or fan_out.
void kaiming_uniform_(const Tensor& t, double a = 0, const std::string& mode = "fan_in",
                      const std::string& nonlinearity = "leaky_relu", Generator& generator = default_generator());
void kaiming_normal_(const Tensor& t, double a = 0, const std::string& mode = "fan_in",
                     const std::string& nonlinearity = "leaky_relu", Generator& generator = default_generator());
/// Rows (or columns, whichever are fewer) that are orthonormal times `gain` (Saxe, McClelland, Ganguli 2013).
void orthogonal_(const Tensor& t, double gain = 1, Generator& generator = default_generator());
/// Normal numbers, of which a share of each column is zero.
void sparse_(const Tensor& t, double sparsity, double deviation = 0.01, Generator& generator = default_generator());

}  // namespace init
}  // namespace sorus::nn
