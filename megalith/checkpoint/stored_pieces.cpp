#include "megalith/checkpoint/stored_pieces.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "megalith/base/text.h"
#include "megalith/models/stored_tensor.h"

namespace megalith {

void StoredPieces::add(std::shared_ptr<const SafetensorsFile> file,
                       const std::map<std::string, TensorPiece>& pieces) {
  const std::string path = file->path().string();
  for (const auto& [name, piece] : pieces)
    MG_CHECK(file->find(name) != nullptr, "{}: lacks the tensor '{}' that its list of shards names", path,
             name);
  for (const SafetensorsEntry& entry : file->entries()) {
    const TensorInfo& info = entry.info;
    const auto listed = pieces.find(info.name);
    const TensorPiece piece =
        listed != pieces.end() ? listed->second : TensorPiece{info.shape, {}, 0, info.shape.numel()};
    MG_CHECK(piece.length == info.shape.numel(),
             "{}: tensor '{}' has {} elements, its list of shards says {}", path, info.name,
             info.shape.numel(), piece.length);
    Stored& stored = tensors_[info.name];
    if (stored.sources.empty()) {
      stored.whole = piece.whole;
      stored.dtype = info.dtype;
    }
    MG_CHECK(stored.whole == piece.whole && stored.dtype == info.dtype,
             "{}: tensor '{}' is {} {}, elsewhere in the checkpoint {} {}", path, info.name,
             name_of(info.dtype), piece.whole.str(), name_of(stored.dtype), stored.whole.str());
    stored.sources.push_back({file, entry.bytes, runs_of(info.name, piece)});
  }
}

std::string StoredPieces::where(const Stored& stored) const {
  std::set<std::string> files;
  for (const Source& source : stored.sources) files.insert(source.file->path().string());
  return join(std::vector<std::string>(files.begin(), files.end()), ", ");
}

void StoredPieces::check_complete() const {
  for (const auto& [name, stored] : tensors_) {
    std::vector<Run> runs;
    for (const Source& source : stored.sources)
      runs.insert(runs.end(), source.runs.begin(), source.runs.end());
    std::sort(runs.begin(), runs.end(),
              [](const Run& a, const Run& b) { return a.whole_begin < b.whole_begin; });
    int64_t next = 0;
    for (const Run& run : runs) {
      MG_CHECK(run.whole_begin <= next, "elements {} to {} of '{}' are missing from the checkpoint ({})",
               next, run.whole_begin, name, where(stored));
      MG_CHECK(run.whole_begin == next, "elements {} to {} of '{}' are in the checkpoint twice ({})",
               run.whole_begin, std::min(next, run.whole_begin + run.length), name, where(stored));
      next += run.length;
    }
    MG_CHECK(next == stored.whole.numel(), "elements {} to {} of '{}' are missing from the checkpoint ({})",
             next, stored.whole.numel(), name, where(stored));
  }
}

std::vector<std::string> StoredPieces::names() const {
  std::vector<std::string> names;
  for (const auto& [name, stored] : tensors_) names.push_back(name);
  return names;
}

const StoredPieces::Stored& StoredPieces::at(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found != tensors_.end()) return found->second;
  const std::string file = tensors_.empty() ? "the checkpoint" : where(tensors_.begin()->second);
  fail("{}: there is no tensor '{}'; the nearest is '{}'", file, name, nearest(name, names()));
}

void StoredPieces::read(const std::string& name, const TensorPiece& piece, const Tensor& to,
                        Exec& exec) const {
  const Stored& stored = at(name);
  MG_CHECK(stored.whole == piece.whole, "{}: tensor '{}' has shape {}, the model needs {}", where(stored),
           name, stored.whole.str(), piece.whole.str());
  if (piece.is_whole() && stored.sources.size() == 1)
    return fill_from_stored(name, stored.sources[0].bytes, stored.dtype, to, exec);

  const size_t item = size_of(stored.dtype);
  std::vector<std::byte> staging(static_cast<size_t>(piece.length) * item);
  const std::vector<Run> wanted = runs_of(name, piece);
  for (const Source& source : stored.sources) {
    // Both lists ascend: walk them side by side.
    auto have = source.runs.begin();
    for (const Run& want : wanted) {
      while (have != source.runs.end() && have->whole_begin + have->length <= want.whole_begin) ++have;
      for (auto part = have; part != source.runs.end() && part->whole_begin < want.whole_begin + want.length;
           ++part) {
        const int64_t begin = std::max(part->whole_begin, want.whole_begin);
        const int64_t end = std::min(part->whole_begin + part->length, want.whole_begin + want.length);
        std::memcpy(
            staging.data() + static_cast<size_t>(want.piece_begin + begin - want.whole_begin) * item,
            source.bytes.data() + static_cast<size_t>(part->piece_begin + begin - part->whole_begin) * item,
            static_cast<size_t>(end - begin) * item);
      }
    }
  }
  fill_from_stored(name, staging, stored.dtype, to, exec);
}

}  // namespace megalith
