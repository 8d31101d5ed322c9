#include "megalith/checkpoint/checkpoint_writer.h"

#include <cerrno>
#include <cstdio>
#include <span>
#include <system_error>

#include <fcntl.h>

#include "megalith/base/error.h"
#include "megalith/base/files.h"
#include "megalith/base/log.h"
#include "megalith/checkpoint/layout.h"
#include "megalith/checkpoint/shard_list.h"
#include "megalith/io/safetensors.h"

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
  for (const NamedTensor& named : tensors)
    writer.add(named.copy.empty() ? bytes_on_host(named.tensor, staging) : named.copy);
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

// This rank's tensors and the list of them.
ShardList write_pieces(const fs::path& directory, const CheckpointContents& contents,
                       const RankFiles& names) {
  ShardList list;
  const auto write = [&](const std::string& file, const std::vector<NamedTensor>& tensors) {
    list.files[file] = write_tensors(directory / file, tensors);
    for (const NamedTensor& named : tensors)
      if (named.piece) list.pieces[file][named.name] = *named.piece;
  };
  write(names.model, contents.model);
  if (!contents.optimizer.empty()) write(names.optimizer, contents.optimizer);
  if (!names.shards.empty()) {
    const std::string text = to_json(list);
    write_text_file(directory / names.shards, text);
    list.files[names.shards] = {.bytes = static_cast<int64_t>(text.size()),
                                .checksum = xxh64(std::as_bytes(std::span(text)))};
  }
  return list;
}

// What the other ranks wrote, from their lists.
void add_files_of_peers(const fs::path& directory, int num_ranks, Manifest& manifest) {
  for (int rank = 1; rank < num_ranks; ++rank) {
    const fs::path path = directory / rank_files(rank, num_ranks).shards;
    const ShardList list = read_shard_list(path);
    manifest.files.insert(list.files.begin(), list.files.end());
    const MmapFile file(path);
    manifest.files[path.filename().string()] = {.bytes = file.size(), .checksum = xxh64(file.bytes())};
  }
}

/// Gives the finished directory its name. One that is there already changes places with it in one step where
/// the file system can do that, and in two elsewhere.
void exchange(const fs::path& aside, const fs::path& place) {
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

CheckpointWriter::CheckpointWriter(const fs::path& root, CheckpointContents contents, KeepLast keep,
                                   SavingRank place)
    : root_(root),
      aside_(aside_path(root, contents.iteration)),
      contents_(std::move(contents)),
      keep_(keep),
      place_(place) {}

void CheckpointWriter::open() const {
  make_directories(root_);
  remove_leftovers(root_);
  make_directories(aside_);
}

void CheckpointWriter::write() {
  files_ = write_pieces(aside_, contents_, rank_files(place_.rank, place_.num_ranks)).files;
}

fs::path CheckpointWriter::publish() const {
  try {
    complete();
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(aside_, ignored);  // the peers have written
    throw;
  }
  write_text_file(root_ / kLatestFile, std::to_string(contents_.iteration));
  remove_old(root_, contents_.iteration, keep_);
  remove_leftovers(root_);
  return directory();
}

void CheckpointWriter::complete() const {
  Manifest manifest{.iteration = contents_.iteration,
                    .config_yaml = contents_.config_yaml,
                    .state = contents_.state,
                    .files = files_};
  add_files_of_peers(aside_, place_.num_ranks, manifest);
  if (!contents_.tokenizer.empty())
    manifest.files[kTokenizerFile] = keep_copy(contents_.tokenizer, aside_ / kTokenizerFile);
  write_text_file(aside_ / kManifestFile, to_json(manifest));
  exchange(aside_, directory());
}

fs::path CheckpointWriter::directory() const {
  return root_ / iteration_directory(contents_.iteration);
}

void CheckpointWriter::remove_own() const {
  std::error_code ignored;
  const RankFiles names = rank_files(place_.rank, place_.num_ranks);
  for (const std::string& name : {names.model, names.optimizer, names.shards})
    if (!name.empty()) fs::remove(aside_ / name, ignored);
}

void CheckpointWriter::give_up() const {
  remove_own();
  std::error_code ignored;
  fs::remove(aside_, ignored);
}

void CheckpointWriter::fail_with(const std::exception& error) const {
  std::error_code ignored;
  if (place_.num_ranks == 1)
    fs::remove_all(aside_, ignored);
  else
    remove_own();
  fail("the checkpoint of iteration {} was not saved; earlier ones are as they were: {}", contents_.iteration,
       error.what());
}

}  // namespace megalith
