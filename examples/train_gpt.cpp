// Trains a small GPT on text and writes with it; train_gpt.py is the same program in Python.
//
//   train_gpt FOLDER [STEPS] [RUN]      a run that was stopped goes on where its newest checkpoint is
#include <fmt/format.h>

#include "sorus/autodiff/tape.h"
#include "sorus/compile/compile.h"
#include "sorus/data/loader.h"
#include "sorus/data/text.h"
#include "sorus/io/checkpoint.h"
#include "sorus/models/sample.h"
#include "sorus/nn/utils.h"
#include "sorus/optim/optimizer.h"

using namespace sorus;

int main(int argc, char** argv) try {
  std::string folder = argc > 1 ? argv[1] : "/usr/lib/python3.11", run = argc > 3 ? argv[3] : "out/example";
  int64_t step = 0, steps = argc > 2 ? std::stoll(argv[2]) : 300;

  data::TextData text = data::load_text({folder}, {.vocab_size = 1024});
  auto dataset = std::make_shared<data::TextDataset>(text.train, /*context=*/64);
  data::DataLoader loader(dataset, {.batch_size = 12, .shuffle = true, .drop_last = true, .seed = 1});

  nn::manual_seed(1);
  nn::GPT model(
      {.vocab_size = text.tokenizer->vocab_size(), .block_size = 64, .n_layer = 4, .n_head = 4, .n_embd = 128});
  optim::AdamW optimizer({{.parameters = model.parameters()}}, {.lr = 1e-3, .beta2 = 0.95, .weight_decay = 0.1});
  io::CheckpointFolder checkpoints(run);
  if (auto path = checkpoints.latest()) {
    io::Checkpoint c = io::load_checkpoint(*path);
    model.load_state_dict(c.part("model"));
    optimizer.load_state_dict(c.part("optimizer"));
    loader.load_state(c.state.at("loader"));
    step = c.state.at("step");
  }

  CompiledFunction train = compile([&](TensorSpan batch) -> TensorList {
    Tensor loss = model.loss(batch[0], batch[1]);
    backward(loss);
    nn::clip_grad_norm(model.parameters(), 1.0);
    optimizer.step();
    optimizer.zero_grad();
    return {loss.detach()};
  });
  while (step < steps) {
    auto batch = loader.next();
    if (!batch) continue;  // the next epoch
    Tensor loss = train(*batch)[0];
    if (++step % 10 == 0) fmt::print("step {} loss {:.4f}\n", step, loss.item().to_double());
    if (step % 100 == 0 || step == steps) {
      io::Checkpoint c{.state = {{"step", step}, {"loader", loader.state()}}};
      c.add("model", model.state_dict());
      c.add("optimizer", optimizer.state_dict());
      checkpoints.save(step, c);
    }
  }

  nn::Generator generator(1);
  nn::GPTCache cache;
  std::vector<int32_t> prompt = text.tokenizer->encode("def ");
  std::vector<int64_t> ids(prompt.begin(), prompt.end());
  for (int i = 0; i < 100; ++i)
    ids.push_back(models::next_token(model, ids, {.temperature = 0.8}, generator, &cache));
  fmt::print("{}\n", text.tokenizer->decode(std::vector<int32_t>(ids.begin(), ids.end())));
} catch (const std::exception& e) {
  fmt::print(stderr, "train_gpt: {}\n", e.what());
  return 1;
}
