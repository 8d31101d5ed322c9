#include "megalith/parallel/process_advice.h"

namespace megalith {
namespace {

bool is_apart(const Communicator& group) {
  return group.size() > 1 && !group.is_one_process();
}

}  // namespace

std::string process_advice(const Mesh& mesh) {
  std::string lost;
  if (mesh.is_sequence_parallel() && mesh.config().tp_comm_overlap && is_apart(mesh.tp()))
    lost = "tensor-parallel products wait for what travels";
  if (is_apart(mesh.group(Axis::kEp)))
    lost += fmt::format("{}rows of experts are packed and go by NCCL", lost.empty() ? "" : ", and ");
  if (lost.empty()) return "";
  return fmt::format(
      "{}, since these ranks are in several processes; one process for each node (--gpus N starts N ranks in "
      "each) keeps them together",
      lost);
}

}  // namespace megalith
