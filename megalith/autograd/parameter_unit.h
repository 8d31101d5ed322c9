#pragma once
// defines: FlatRange, ParameterUnit, UnitUse, UnitHooks

#include <cstdint>
#include <string>
#include <vector>

namespace megalith {

class Exec;
struct Parameter;

/// [begin, end) of the flat buffers.
struct FlatRange {
  int64_t begin = 0, end = 0;
  int64_t size() const { return end - begin; }
};

/// Parameters that are used together: an embedding, a layer, an output head. They lie behind each other in
/// the flat buffers; data parallelism gathers their weights and reduces their gradients in one go.
struct ParameterUnit {
  std::string name;
  int index = 0;
  std::vector<Parameter*> parameters;
  FlatRange dense, expert;  ///< where they lie, padding included
  int num_uses = 0;         ///< UnitUses in a forward pass of one microbatch
};

/// A place in the forward pass at which units are used, and their gradients written in the backward.
struct UnitUse {
  int index = 0;
  int chunk = 0;  ///< pipeline chunk; the uses of a chunk follow each other in the order of their indices
  std::vector<ParameterUnit*> units;
  bool writes_gradients_in_forward = false;  ///< as the fused output head does
  bool reads_weights_in_backward = true;     ///< an embedding does not
};

/// What happens to the weights and gradients of units around their uses. The order for one microbatch is
/// before_forward, [before_gradients], after_forward, before_backward, before_gradients, after_backward,
/// gradients_done; the backward's calls come in the reverse order of the uses. gradients_done may come later
/// than after_backward, when weight gradients are put off.
class UnitHooks {
 public:
  virtual ~UnitHooks() = default;
  virtual void before_forward(const UnitUse& use, Exec& exec) = 0;
  virtual void after_forward(const UnitUse& use, Exec& exec) = 0;
  virtual void before_backward(const UnitUse& use, Exec& exec) = 0;
  virtual void after_backward(const UnitUse& use, Exec& exec) = 0;
  /// The first gradient of this use is about to be written.
  virtual void before_gradients(const UnitUse& use, Exec& exec) = 0;
  /// The use has written all its gradients.
  virtual void gradients_done(const UnitUse& use, Exec& exec) = 0;
};

}  // namespace megalith
