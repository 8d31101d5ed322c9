#include "megalith/checkpoint/save.h"

#include <cerrno>
#include <cstdio>
#include <system_error>

#include <fcntl.h>

#include "megalith/base/error.h"
#include "megalith/base/files.h"
#include "megalith/base/log.h"
#include "megalith/checkpoint/layout.h"
#include "megalith/checkpoint/manifest.h"
#include "megalith/io/safetensors.h"
#include "megalith/models/stored_tensor.h"

namespace megalith {
namespace {

namespace fs = std::filesystem;

fs::path aside_path(const fs::path& root, int64_t iteration) {
  return root / ("." + iteration_directory(iteration) + ".tmp");
}

/// Directories and files of saves that were killed.
void remove_leftovers(const fs::path& root) {
  std::error_code error;
  std::vector<fs::path> leftovers;
  for (const auto& entry : fs::directory_iterator(root, error)) {
    const std::string name = entry.path().filename().string();
    const bool is_ours = name.starts_with(".iter_") || name.starts_with(std::string(".") + kLatestFile);
    if (is_ours && name.ends_with(".tmp")) leftovers.push_back(entry.path());
  }
  for (const fs::path& leftover : leftovers) fs::remove_all(leftover, error);
}

StoredFile write_tensors(const fs::path& path, const std::vector<NamedTensor>& tensors) {
  std::vector<TensorInfo> infos;
  for (const NamedTensor& named : tensors) {
    infos.push_back({named.name, named.tensor.dtype(), named.tensor.shape()});
  }
  SafetensorsWriter writer(path, infos);
  std::vector<std::byte> staging;
  for (const NamedTensor& named : tensors) writer.add(bytes_on_host(named.tensor, staging));
  const StoredFile stored{.bytes = writer.bytes_written(), .checksum = writer.checksum()};
  writer.commit();
  return stored;
}

StoredFile keep_copy(const fs::path& from, const fs::path& to) {
  const MmapFile source(from);
  AtomicFile file(to);
  file.write(source.bytes().data(), source.bytes().size());
  file.commit();
  return {.bytes = source.size(), .checksum = xxh64(source.bytes())};
}

void write_contents(const fs::path& directory, const CheckpointContents& contents) {
  Manifest manifest{.iteration = contents.iteration,
                    .config_yaml = contents.config_yaml,
                    .state = contents.state,
                    .files = {}};
  manifest.files[kModelFile] = write_tensors(directory / kModelFile, contents.model);
  if (!contents.optimizer.empty()) {
    manifest.files[kOptimizerFile] = write_tensors(directory / kOptimizerFile, contents.optimizer);
  }
  if (!contents.tokenizer.empty()) {
    manifest.files[kTokenizerFile] = keep_copy(contents.tokenizer, directory / kTokenizerFile);
  }
  write_text_file(directory / kManifestFile, to_json(manifest));
}

/// Gives the finished directory its name. One that is there already changes places with it in one step where
/// the file system can do that, and in two elsewhere.
void publish(const fs::path& aside, const fs::path& place) {
  const auto check = [&](bool done) {
    MG_CHECK(done, "{}: cannot be published: {}", place.string(), system_message(errno));
  };
  if (std::rename(aside.c_str(), place.c_str()) != 0) {
    check(errno == ENOTEMPTY || errno == EEXIST);
    if (renameat2(AT_FDCWD, aside.c_str(), AT_FDCWD, place.c_str(), RENAME_EXCHANGE) != 0) {
      check(errno == EINVAL || errno == ENOSYS);
      fs::path replaced = aside;
      replaced.replace_extension(".old.tmp");
      check(std::rename(place.c_str(), replaced.c_str()) == 0);
      check(std::rename(aside.c_str(), place.c_str()) == 0);
    }
  }
  sync_directory(place.parent_path());
}

void remove_old(const fs::path& root, int64_t saved, KeepLast keep) {
  if (keep.count <= 0) return;
  std::vector<int64_t> iterations = saved_iterations(root);
  std::erase_if(iterations, [&](int64_t iteration) { return iteration > saved; });
  const auto surplus = static_cast<int64_t>(iterations.size()) - keep.count;
  for (int64_t i = 0; i < surplus; ++i) {
    // Renamed first: a directory that lacks files must never look like a checkpoint.
    const int64_t iteration = iterations[static_cast<size_t>(i)];
    std::error_code error;
    fs::rename(root / iteration_directory(iteration), aside_path(root, iteration), error);
    if (error) {
      log_warn("{}: the old checkpoint cannot be removed: {}",
               (root / iteration_directory(iteration)).string(), error.message());
    }
  }
}

}  // namespace

fs::path save_checkpoint(const fs::path& root, const CheckpointContents& contents, KeepLast keep) {
  make_directories(root);
  remove_leftovers(root);
  const fs::path aside = aside_path(root, contents.iteration);
  try {
    make_directories(aside);
    write_contents(aside, contents);
    publish(aside, root / iteration_directory(contents.iteration));
    write_text_file(root / kLatestFile, std::to_string(contents.iteration));
  } catch (const std::exception& error) {
    std::error_code ignored;
    fs::remove_all(aside, ignored);
    fail("the checkpoint of iteration {} was not saved; earlier ones are as they were: {}",
         contents.iteration, error.what());
  }
  remove_old(root, contents.iteration, keep);
  remove_leftovers(root);
  return root / iteration_directory(contents.iteration);
}

}  // namespace megalith
