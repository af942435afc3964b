#include "sorus/graph/meta.h"

namespace sorus {
namespace {

class Shapes final : public Interpreter {
 public:
  void run(const OpDef& op, TensorSpan inputs, const Attrs& attrs, TensorList& out) override {
    SORUS_CHECK(!op.value_shaped, Error,
                "{}: the shape of the result depends on values, and tensors without memory have none", op.name());
    if (!out.empty()) return;  // a write into memory that is not there
    if (op.is_view() && inputs[0].defined()) {
      TensorType type = inputs[0].type();
      const TensorType* pointer = &type;
      if (auto g = op.view(TypeCall{op, {&pointer, 1}, attrs}, inputs[0].geometry())) {
        out.push_back(inputs[0].with_geometry(*g));
        return;
      }
    }
    std::vector<TensorType> types(inputs.size());
    std::vector<const TensorType*> pointers(inputs.size(), nullptr);
    for (size_t i = 0; i < inputs.size(); ++i)
      if (inputs[i].defined()) types[i] = inputs[i].type(), pointers[i] = &types[i];
    for (const TensorType& t : infer_types(TypeCall{op, pointers, attrs}))
      out.push_back(Tensor::abstract(t.shape, t.dtype));
  }
  bool takes_whole(const OpDef&, TensorSpan, const Attrs&, bool) override { return true; }
};

}  // namespace

MetaScope::MetaScope() : interpreter_(std::make_unique<Shapes>()), scope_(interpreter_.get()) {}
MetaScope::~MetaScope() = default;

}  // namespace sorus
