// A decoder's training step, recorded without memory.
#pragma once

#include <memory>

#include "sorus/graph/meta.h"
#include "sorus/models/decoder.h"
#include "sorus/parallel/space/chain.h"

namespace sorus::parallel {

inline Model trace_decoder(const models::DecoderConfig& c, int64_t batch) {
  std::shared_ptr<models::Decoder> model;
  {
    MetaScope meta;
    model = std::make_shared<models::Decoder>(c);
  }
  TensorType ids{DType::i64, Shape{batch, c.context}, false};
  return trace_model("decoder", {ids, ids}, model->named_parameters(),
                     [model](TensorSpan in) { return model->loss(in[0], in[1]); });
}

}  // namespace sorus::parallel
