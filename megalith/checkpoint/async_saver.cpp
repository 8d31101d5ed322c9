#include "megalith/checkpoint/async_saver.h"

#include <cstring>
#include <utility>

namespace megalith {

AsyncSaver::~AsyncSaver() {
  if (thread_.joinable()) thread_.join();
}

void AsyncSaver::start(const std::filesystem::path& root, CheckpointContents contents, KeepLast keep,
                       Communicator& world) {
  MG_CHECK(!is_pending(), "a checkpoint is still being written");
  take_copies(contents);
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
    throw;
  } catch (const std::exception& error) {
    writer.fail_with(error);
  }
  world.barrier("checkpoint published");
  return writer.directory();
}

void AsyncSaver::take_copies(CheckpointContents& contents) {
  size_t bytes = 0;
  for (auto* tensors : {&contents.model, &contents.optimizer})
    for (const NamedTensor& named : *tensors) bytes += static_cast<size_t>(named.tensor.nbytes());
  if (copies_.size() < bytes) copies_.resize(bytes);
  std::vector<std::byte> staging;
  std::byte* to = copies_.data();
  for (auto* tensors : {&contents.model, &contents.optimizer}) {
    for (NamedTensor& named : *tensors) {
      const std::span<const std::byte> from = bytes_on_host(named.tensor, staging);
      std::memcpy(to, from.data(), from.size());
      named.copy = {to, from.size()};
      to += from.size();
    }
  }
}

}  // namespace megalith
