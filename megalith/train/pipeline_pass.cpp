#include "megalith/train/pipeline_pass.h"

namespace megalith {

PipelinePass::PipelinePass(LanguageModel& model, const Mesh& mesh, const Schedule& schedule,
                           const PassOptions& options, const NextBatch& next_batch, Exec& exec)
    : model_(&model),
      mesh_(&mesh),
      schedule_(&schedule),
      options_(options),
      next_batch_(next_batch),
      exec_(&exec) {}

void PipelinePass::run(const Action& action) {
  const int stage = stage_of(action.chunk);
  const auto take = [&](std::map<Key, Tensor>& box, int of_stage) {
    const Tensor tensor = box.at({action.microbatch, of_stage});
    box.erase({action.microbatch, of_stage});
    return tensor;
  };
  const auto receive = [&] {
    const Tensor tensor = exec_->empty(model_->boundary_shape(batch_of(action.microbatch).context),
                                       model_->parameters().dtype());
    mesh_->pp().recv(tensor, schedule_->rank_of(action.peer_stage), name_of(action.kind));
    return tensor;
  };
  switch (action.kind) {
    case ActionKind::kForward:
      if (!action.is_paired) return forward(action.microbatch, action.chunk);
      paired_ = action;
      return;
    case ActionKind::kBackward:
      if (paired_) return forward_beside_backward(*std::exchange(paired_, std::nullopt), action);
      return backward(action.microbatch, action.chunk, false);
    case ActionKind::kBackwardInput:
      return backward(action.microbatch, action.chunk, true);
    case ActionKind::kBackwardWeight:
      flights_.at({action.microbatch, stage}).deferred.drain(*exec_);
      flights_.erase({action.microbatch, stage});
      return;
    case ActionKind::kSendForward:
      return mesh_->pp().send(take(activations_, action.peer_stage), schedule_->rank_of(action.peer_stage),
                              name_of(ActionKind::kRecvForward));
    case ActionKind::kSendBackward:
      return mesh_->pp().send(take(gradients_, action.peer_stage), schedule_->rank_of(action.peer_stage),
                              name_of(ActionKind::kRecvBackward));
    case ActionKind::kRecvForward:
      activations_[{action.microbatch, stage}] = receive();
      return;
    case ActionKind::kRecvBackward:
      gradients_[{action.microbatch, stage}] = receive();
      return;
  }
}

DeviceBatch& PipelinePass::batch_of(int microbatch) {
  const auto known = batches_.find(microbatch);
  if (known != batches_.end()) return known->second;
  MG_ASSERT(microbatch == static_cast<int>(batches_.size()));  // the data comes in the order of training
  next_batch_(host_batch_);
  const int64_t dp = mesh_->size(Axis::kDp);
  const int64_t num_terms = schedule_->num_microbatches * dp;
  DeviceBatch batch = make_device_batch(host_batch_, options_.scaling, num_terms, context_share(*mesh_),
                                        *exec_, options_.loss_scale);
  batch.context.rng = options_.rng.fold(static_cast<uint64_t>(microbatch * dp + mesh_->rank(Axis::kDp)));
  if (mesh_->cp().size() > 1)
    batch.context.rng = batch.context.rng.fold(static_cast<uint64_t>(mesh_->cp().rank()));  // other tokens
  batch.context.is_training = true;
  // What a microbatch counts beside others, in the unit of its token losses.
  batch.context.aux_loss_scale =
      options_.loss_scale *
      (options_.scaling == LossScaling::kSum ? batch.num_tokens : 1 / static_cast<double>(num_terms));
  return batches_.emplace(microbatch, std::move(batch)).first->second;
}

std::unique_ptr<Tape> PipelinePass::make_tape(int chunk) {
  Tape::Options options{.recompute = options_.recompute};
  if (options_.host_copies != nullptr)
    options.offload = std::make_shared<SegmentOffload>(*options_.host_copies, options_.offload,
                                                       model_->num_layers(chunk), *exec_);
  if (mesh_->config().overlap_moe_expert_parallel_comm)
    options.at_give_way = [this] {
      if (beside_ != nullptr) beside_->advance();
    };
  return std::make_unique<Tape>(*exec_, std::move(options));
}

void PipelinePass::forward(int microbatch, int chunk) {
  const OwnerScope scope(exec_->ledger(), "activations");
  const int stage = stage_of(chunk);
  const DeviceBatch& batch = batch_of(microbatch);
  if (options_.graphs != nullptr) {
    return options_.graphs->run(batch);
  }
  Flight& flight = flights_[{microbatch, stage}];
  flight.tape = make_tape(chunk);
  if (stage > 0) {
    flight.input = flight.tape->leaf(activations_.at({microbatch, stage}));
    activations_.erase({microbatch, stage});
  }
  flight.output = model_->forward_chunk(*flight.tape, batch.context, batch.tokens, chunk, flight.input);
  if (is_last(stage)) {
    losses_.push_back(flight.output.data);
  } else {
    activations_[{microbatch, stage + 1}] = flight.output.data;
    flight.output.data = {};
  }
}

PipelinePass::Flight& PipelinePass::begin_backward(int microbatch, int chunk, bool defers_weights) {
  const int stage = stage_of(chunk);
  Flight& flight = flights_.at({microbatch, stage});
  Tensor gradient;
  if (is_last(stage)) {
    gradient = exec_->from_host(std::span<const double>({1.0}), {1});
  } else {
    gradient = gradients_.at({microbatch, stage});
    gradients_.erase({microbatch, stage});
  }
  flight.tape->begin_backward(flight.output, std::move(gradient),
                              defers_weights ? &flight.deferred : nullptr);
  return flight;
}

void PipelinePass::end_backward(int microbatch, int chunk, bool defers_weights) {
  const int stage = stage_of(chunk);
  Flight& flight = flights_.at({microbatch, stage});
  while (flight.tape->advance()) {
  }
  if (stage > 0) gradients_[{microbatch, stage - 1}] = flight.tape->gradient(flight.input);
  flight.tape.reset();
  flight.input = {};
  if (!defers_weights) flights_.erase({microbatch, stage});
}

void PipelinePass::backward(int microbatch, int chunk, bool defers_weights) {
  if (options_.graphs != nullptr) return;
  const OwnerScope scope(exec_->ledger(), "activations");
  begin_backward(microbatch, chunk, defers_weights);
  end_backward(microbatch, chunk, defers_weights);
}

void PipelinePass::forward_beside_backward(const Action& forward_action, const Action& backward_action) {
  const OwnerScope scope(exec_->ledger(), "activations");
  Flight& flight = begin_backward(backward_action.microbatch, backward_action.chunk, false);
  // The backward comes to its first transfer, beside which the forward begins.
  flight.tape->advance();
  beside_ = flight.tape.get();
  forward(forward_action.microbatch, forward_action.chunk);
  beside_ = nullptr;
  end_backward(backward_action.microbatch, backward_action.chunk, false);
}

double PipelinePass::loss() const {
  double sum = 0;
  for (const Tensor& loss : losses_) sum += to_vector<double>(loss)[0];
  return sum;
}

double PipelinePass::num_tokens() const {
  double sum = 0;
  for (const auto& [microbatch, batch] : batches_) sum += batch.num_tokens;
  return sum;
}

}  // namespace megalith
