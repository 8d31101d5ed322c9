#include "megalith/checkpoint/async_saver.h"

#include <cstring>
#include <utility>

#include "megalith/core/cuda/cuda_snapshot.h"
#include "megalith/core/has_cuda.h"

namespace megalith {
namespace {

// What is copied, in the order of the contents.
std::vector<NamedTensor*> tensors_of(CheckpointContents& contents) {
  std::vector<NamedTensor*> tensors;
  for (NamedTensor& named : contents.model) tensors.push_back(&named);
  for (NamedTensor& named : contents.optimizer) tensors.push_back(&named);
  return tensors;
}

std::span<const std::byte> bytes_of(const Tensor& tensor) {
  MG_ASSERT(tensor.is_contiguous());
  return {tensor.raw(), static_cast<size_t>(tensor.nbytes())};
}

std::vector<std::span<const std::byte>> bytes_of(const std::vector<NamedTensor*>& tensors) {
  std::vector<std::span<const std::byte>> all;
  for (const NamedTensor* named : tensors) all.push_back(bytes_of(named->tensor));
  return all;
}

}  // namespace

AsyncSaver::~AsyncSaver() {
  if (thread_.joinable()) thread_.join();
}

void AsyncSaver::make_snapshot([[maybe_unused]] Exec& exec) {
  if constexpr (kHasCuda) {
    if (snapshot_ == nullptr) snapshot_ = std::make_shared<CudaSnapshot>(exec.device().index);
  }
}

void AsyncSaver::prepare([[maybe_unused]] CheckpointContents contents, Exec& exec) {
  if constexpr (kHasCuda) {
    if (exec.device().is_cpu()) return;
    make_snapshot(exec);
    snapshot_->prepare(bytes_of(tensors_of(contents)));
  }
}

void AsyncSaver::start(const std::filesystem::path& root, CheckpointContents contents, KeepLast keep,
                       Communicator& world, Exec& exec) {
  MG_CHECK(!is_pending(), "a checkpoint is still being written");
  take_copies(contents, exec);
  writer_.emplace(root, std::move(contents), keep,
                  SavingRank{.rank = world.rank(), .num_ranks = world.size()});
  try {
    if (world.rank() == 0) writer_->open();
    world.barrier("checkpoint directory");
  } catch (const PeerFailure&) {
    throw;
  } catch (const std::exception& error) {
    const CheckpointWriter failed = *std::exchange(writer_, std::nullopt);
    failed.fail_with(error);
  }
  is_written_ = false;
  error_ = nullptr;
  thread_ = std::thread([this] {
    try {
      wait_for_copies();
      writer_->write();
    } catch (...) {
      error_ = std::current_exception();
    }
    is_written_ = true;
  });
}

std::filesystem::path AsyncSaver::finish(Communicator& world) {
  MG_CHECK(is_pending(), "no checkpoint is being written");
  thread_.join();
  const CheckpointWriter writer = *std::exchange(writer_, std::nullopt);
  try {
    if (error_ != nullptr) std::rethrow_exception(error_);
    world.barrier("checkpoint pieces");
    if (world.rank() == 0) writer.publish();
  } catch (const PeerFailure&) {
    writer.give_up();
    throw;
  } catch (const std::exception& error) {
    writer.fail_with(error);
  }
  world.barrier("checkpoint published");
  return writer.directory();
}

void AsyncSaver::take_copies(CheckpointContents& contents, Exec& exec) {
  const std::vector<NamedTensor*> tensors = tensors_of(contents);
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda()) {
      make_snapshot(exec);
      const std::vector<std::span<const std::byte>> copies = snapshot_->take(bytes_of(tensors), exec.cuda());
      for (size_t i = 0; i < tensors.size(); ++i) tensors[i]->copy = copies[i];
      return;
    }
  }
  size_t bytes = 0;
  for (const NamedTensor* named : tensors) bytes += bytes_of(named->tensor).size();
  if (copies_.size() < bytes) copies_.resize(bytes);
  std::byte* to = copies_.data();
  for (NamedTensor* named : tensors) {
    const std::span<const std::byte> from = bytes_of(named->tensor);
    std::memcpy(to, from.data(), from.size());
    named->copy = {to, from.size()};
    to += from.size();
  }
}

void AsyncSaver::before_update([[maybe_unused]] Exec& exec) const {
  if constexpr (kHasCuda) {
    if (snapshot_ != nullptr && is_pending()) snapshot_->hold_back(exec.cuda());
  }
}

void AsyncSaver::wait_for_copies() const {
  if constexpr (kHasCuda) {
    if (snapshot_ != nullptr) snapshot_->wait();
  }
}

}  // namespace megalith
