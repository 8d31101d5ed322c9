#include "megalith/autograd/functions/embedding.h"

#include "megalith/ops/embedding.h"

namespace megalith {
namespace {

int64_t first_id(const Parameter& table) {
  return table.spec.shard.index * table.data.dim(0);
}

class EmbeddingNode : public Node {
 public:
  EmbeddingNode(EmbeddingInput input, Parameter& table, Parameter* position_table)
      : input_(std::move(input)), table_(&table), position_table_(position_table) {}
  const char* name() const override { return "embedding"; }

  void backward_input(Tape& tape) override { d_out_ = tape.take_gradient(output()); }

  bool has_backward_weight() const override { return true; }
  void backward_weight(Exec& exec) override {
    scatter(input_.ids, *table_, exec);
    if (position_table_ != nullptr) scatter(input_.positions, *position_table_, exec);
  }

 private:
  void scatter(const Tensor& ids, Parameter& table, Exec& exec) {
    const bool accumulate = table.begin_grad_write() != 0;
    embedding_backward({.ids = ids,
                        .d_out = d_out_,
                        .d_table = table.main_grad,
                        .first_id = first_id(table),
                        .num_ids = table.spec.shape[0],
                        .accumulate = accumulate},
                       exec);
  }

  EmbeddingInput input_;
  Parameter* table_;
  Parameter* position_table_;
  Tensor d_out_;
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
