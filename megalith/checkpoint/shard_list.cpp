#include "megalith/checkpoint/shard_list.h"

#include <nlohmann/json.hpp>

#include "megalith/base/error.h"
#include "megalith/base/files.h"

namespace megalith {
namespace {

using Json = nlohmann::json;

Json to_object(const TensorPiece& piece) {
  return {{"shape", std::vector<int64_t>(piece.whole.begin(), piece.whole.end())},
          {"dim", piece.shard.dim},
          {"index", piece.shard.index},
          {"count", piece.shard.count},
          {"blocks", piece.shard.blocks},
          {"begin", piece.begin},
          {"length", piece.length}};
}

TensorPiece to_piece(const Json& object) {
  const auto shape = object.at("shape").get<std::vector<int64_t>>();
  const TensorPiece piece{.whole = Shape(shape),
                          .shard = {.dim = object.at("dim").get<int>(),
                                    .index = object.at("index").get<int>(),
                                    .count = object.at("count").get<int>(),
                                    .blocks = object.at("blocks").get<std::vector<int64_t>>()},
                          .begin = object.at("begin").get<int64_t>(),
                          .length = object.at("length").get<int64_t>()};
  const Shard& shard = piece.shard;
  MG_CHECK(shard.count >= 1 && shard.index >= 0 && shard.index < shard.count, "shard {} of {}", shard.index,
           shard.count);
  MG_CHECK(shard.is_whole() || (shard.dim >= 0 && shard.dim < piece.whole.rank()),
           "a shard along dimension {} of {}", shard.dim, piece.whole.str());
  int64_t sum = 0;
  for (const int64_t block : shard.blocks) {
    MG_CHECK(block >= 0 && block <= piece.whole[shard.dim] - sum, "blocks beyond dimension {} of {}",
             shard.dim, piece.whole.str());
    sum += block;
  }
  MG_CHECK(shard.blocks.empty() || sum == piece.whole[shard.dim], "blocks of {} in dimension {} of {}", sum,
           shard.dim, piece.whole.str());
  return piece;
}

}  // namespace

std::string to_json(const ShardList& list) {
  Json object = {{"files", Json::object()}, {"pieces", Json::object()}};
  for (const auto& [name, file] : list.files)
    object["files"][name] = {{"bytes", file.bytes}, {"xxh64", fmt::format("{:016x}", file.checksum)}};
  for (const auto& [file, pieces] : list.pieces) {
    object["pieces"][file] = Json::object();
    for (const auto& [name, piece] : pieces) object["pieces"][file][name] = to_object(piece);
  }
  return object.dump(1) + "\n";
}

ShardList read_shard_list(const std::filesystem::path& path) {
  const std::string text = read_text_file(path);
  try {
    const Json object = Json::parse(text);
    ShardList list;
    for (const auto& item : object.at("files").items())
      list.files[item.key()] = {
          .bytes = item.value().at("bytes").get<int64_t>(),
          .checksum = std::stoull(item.value().at("xxh64").get<std::string>(), nullptr, 16)};
    for (const auto& file : object.at("pieces").items())
      for (const auto& item : file.value().items())
        list.pieces[file.key()][item.key()] = to_piece(item.value());
    return list;
  } catch (const std::exception& error) {
    fail("{}: the list of shards is torn or corrupt: {}", path.string(), error.what());
  }
}

}  // namespace megalith
