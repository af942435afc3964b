// All layers, with PyTorch's names, defaults and initialisation.
#pragma once

#include "sorus/nn/attention.h"
#include "sorus/nn/basic.h"
#include "sorus/nn/containers.h"
#include "sorus/nn/convolution.h"
#include "sorus/nn/functional.h"
#include "sorus/nn/norm.h"
#include "sorus/nn/recurrent.h"
#include "sorus/nn/transformer.h"
