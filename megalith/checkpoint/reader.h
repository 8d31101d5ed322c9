#pragma once
// defines: CheckpointParts, CheckpointReader, holds_checkpoint

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "megalith/autograd/parameter.h"
#include "megalith/checkpoint/manifest.h"
#include "megalith/checkpoint/save.h"
#include "megalith/checkpoint/stored_pieces.h"

namespace megalith {

enum class CheckpointParts {
  kModel,  ///< for inference: the optimizer's file is neither read nor verified
  kAll,
};

/// An opened checkpoint, of any layout. The constructor verifies manifest, sizes and checksums, and that
/// every element is there once; anything torn, corrupt or absent throws Error naming the file, what is wrong,
/// and the newest earlier checkpoint that is good.
class CheckpointReader {
 public:
  /// `path` is a run's directory (its latest checkpoint, or the one of `iteration`) or a checkpoint's own.
  explicit CheckpointReader(const std::filesystem::path& path, CheckpointParts parts = CheckpointParts::kAll,
                            std::optional<int64_t> iteration = {});

  const std::filesystem::path& directory() const { return directory_; }
  int64_t iteration() const { return manifest_.iteration; }
  const std::string& config_yaml() const { return manifest_.config_yaml; }
  const std::map<std::string, std::string>& state() const { return manifest_.state; }
  /// Throws Error naming the checkpoint and the key.
  const std::string& state(const std::string& key) const;
  /// The tokenizer.json that was saved with the weights; empty when there was none.
  std::filesystem::path tokenizer() const;
  DType model_dtype() const;

  /// Names of the parameters that were saved, and of what the model keeps beside them.
  std::vector<std::string> tensor_names() const { return model_.names(); }
  /// Fills every parameter with this rank's part, converted to the store's dtype (stored_tensor.h). A model
  /// wider than the stored weights takes the optimizer's master weights where they were opened. A parameter
  /// that is missing or of another shape throws Error naming it; so does a saved one that the model does not
  /// have, unless the model is one of several ranks' (`IsPart`). Fills `buffers`, tensors that a model keeps
  /// beside its parameters, likewise.
  enum class IsPart { kNo, kYes };
  void read_model(const ParameterStore& store, Exec& exec, IsPart is_part = IsPart::kNo,
                  const std::vector<NamedTensor>& buffers = {}) const;

  bool has_optimizer() const { return has_optimizer_; }
  /// One tensor of the optimizer, "KIND.PARAMETER". "master.PARAMETER" comes from the model's file when that
  /// was saved in f32 and has no master weights beside it.
  void read_optimizer(const std::string& name, const TensorPiece& piece, const Tensor& to, Exec& exec) const;

 private:
  std::filesystem::path directory_;
  Manifest manifest_;
  StoredPieces model_;
  StoredPieces optimizer_;
  bool has_optimizer_ = false;
};

/// True for a run's directory with a checkpoint in it, and for a checkpoint's own.
bool holds_checkpoint(const std::filesystem::path& path);

}  // namespace megalith
