#include "megalith/autograd/functions/embedding.h"

#include "megalith/ops/embedding.h"

namespace megalith {
namespace {

// In the backward the table itself may be away.
int64_t first_id(const Parameter& table) {
  return table.spec.shard.index * (table.spec.shape[0] / table.spec.shard.count);
}

class EmbeddingNode : public Node {
 public:
  EmbeddingNode(EmbeddingInput input, Parameter& table, Parameter* position_table)
      : input_(std::move(input)), table_(&table), position_table_(position_table) {}
  const char* name() const override { return "embedding"; }

  // The gradient of the table is not put off: where the head uses the same table, it writes in the forward,
  // and the order of the sums would depend on the schedule.
  void backward_input(Tape& tape) override {
    const Tensor d_out = tape.take_gradient(output());
    scatter(input_.ids, d_out, *table_, tape.exec());
    if (position_table_ != nullptr) scatter(input_.positions, d_out, *position_table_, tape.exec());
  }

 private:
  static void scatter(const Tensor& ids, const Tensor& d_out, Parameter& table, Exec& exec) {
    const bool accumulate = table.begin_grad_write() != 0;
    embedding_backward({.ids = ids,
                        .d_out = d_out,
                        .d_table = table.main_grad,
                        .first_id = first_id(table),
                        .num_ids = table.spec.shape[0],
                        .accumulate = accumulate},
                       exec);
  }

  EmbeddingInput input_;
  Parameter* table_;
  Parameter* position_table_;
};

}  // namespace

Var embedding(Tape& tape, const EmbeddingInput& input, Parameter& table, Parameter* position_table) {
  Exec& exec = tape.exec();
  const Tensor out = exec.empty({input.ids.numel(), table.data.dim(1)}, table.data.dtype());
  EmbeddingArgs args{.ids = input.ids,
                     .table = table.data,
                     .first_id = first_id(table),
                     .num_ids = table.spec.shape[0],
                     .out = out};
  if (position_table != nullptr && table.spec.shard.index == 0) {
    args.positions = input.positions;
    args.positions_table = position_table->data;
  }
  megalith::embedding(args, exec);
  return tape.apply<EmbeddingNode>(out, input, table, position_table);
}

}  // namespace megalith
