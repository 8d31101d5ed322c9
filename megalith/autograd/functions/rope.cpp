#include "megalith/autograd/functions/rope.h"

#include "megalith/ops/rope.h"

namespace megalith {
namespace {

// [T, W] -> its first heads as [T, heads, D], on the same memory.
Tensor turned_heads(const Tensor& x, int64_t num_heads, int64_t head_dim) {
  return x.view({x.dim(0), x.dim(1) / head_dim, head_dim}).slice(1, 0, num_heads);
}

class RopeNode : public Node {
 public:
  RopeNode(RopeTables tables, ValueId x_id, int64_t num_heads, int64_t head_dim)
      : tables_(std::move(tables)), x_id_(x_id), num_heads_(num_heads), head_dim_(head_dim) {}
  const char* name() const override { return "rope"; }

  void backward_input(Tape& tape) override {
    const Tensor d_y = tape.take_gradient(output());
    MG_ASSERT(d_y.is_unique());
    megalith::rope({.x = turned_heads(d_y, num_heads_, head_dim_),
                    .cos = tables_.cos,
                    .sin = tables_.sin,
                    .positions = tables_.positions,
                    .direction = RopeDirection::kBackward},
                   tape.exec());
    tape.add_gradient(x_id_, d_y);
  }

 private:
  RopeTables tables_;
  ValueId x_id_;
  int64_t num_heads_, head_dim_;
};

}  // namespace

Var rope(Tape& tape, const Var& x, const RopeTables& tables, int64_t num_heads, int64_t head_dim) {
  megalith::rope({.x = turned_heads(x.data, num_heads, head_dim),
                  .cos = tables.cos,
                  .sin = tables.sin,
                  .positions = tables.positions},
                 tape.exec());
  return tape.apply<RopeNode>(x.data, tables, x.id, num_heads, head_dim);
}

}  // namespace megalith
