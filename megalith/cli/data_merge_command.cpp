#include <cstdio>

#include "megalith/cli/commands.h"
#include "megalith/data/indexed_dataset_builder.h"

namespace megalith {
namespace {

struct MergeOptions {
  std::vector<std::string> data_path;
  std::string output_prefix;
};

void declare_fields(MergeOptions& c, FieldList& f) {
  f.add("data_path", c.data_path,
        {.help = "prefixes of .bin/.idx pairs, in order",
         .value_name = "PREFIX",
         .positional = true,
         .required = true});
  f.add("output_prefix", c.output_prefix,
        {.help = "prefix of the pair to write", .value_name = "PREFIX", .main = true, .required = true});
}

void run_data_merge(CommandLine& line) {
  MergeOptions options;
  line.add("merge", "Merge", options);
  if (!line.parse()) return;
  merge_indexed_datasets(options.data_path, options.output_prefix);
  std::printf("%s\n", options.output_prefix.c_str());
}

}  // namespace

Command data_merge_command() {
  return {
      .name = "data merge",
      .summary = "Concatenate data sets into one .bin/.idx pair; prints its prefix.",
      .examples =
          {"megalith data merge part1_text_document part2_text_document --output-prefix all_text_document"},
      .run = run_data_merge};
}

}  // namespace megalith
