#include "megalith/checkpoint/save.h"

#include "megalith/checkpoint/checkpoint_writer.h"

namespace megalith {

namespace fs = std::filesystem;

fs::path save_checkpoint(const fs::path& root, const CheckpointContents& contents, KeepLast keep) {
  return save_checkpoint(root, contents, keep, *make_self_communicator());
}

fs::path save_checkpoint(const fs::path& root, const CheckpointContents& contents, KeepLast keep,
                         Communicator& world) {
  CheckpointWriter writer(root, contents, keep, {.rank = world.rank(), .num_ranks = world.size()});
  try {
    if (world.rank() == 0) writer.open();
    world.barrier("checkpoint directory");
    writer.write();
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

}  // namespace megalith
