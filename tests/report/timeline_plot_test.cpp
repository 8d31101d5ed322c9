#include "megalith/report/timeline_plot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/base/error.h"
#include "megalith/base/files.h"

#include "tests/report/temporary_directory.h"

namespace megalith {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
using ::testing::ThrowsMessage;

TimelinePlot two_rows() {
  return {.title = "t",
          .subtitle = "s",
          .kinds = {"forward", "backward"},
          .rows = {{.label = "rank 0", .note = "peak 2", .boxes = {{0, 1, 0, 0, "0"}, {3, 5, 1, 1, "0"}}},
                   {.label = "rank 1", .boxes = {{1, 2, 0, 3, "1"}}}}};
}

TEST(TimelinePlot, PicturesAreWrittenOrThePackageIsNamed) {
  const testing::TemporaryDirectory directory;
  const std::filesystem::path svg = directory.path() / "a.svg";
  try {
    write_timeline(svg, two_rows());
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("libcairo2-dev"));
    return;
  }
  write_timeline(directory.path() / "a.png", two_rows());
  EXPECT_THAT(read_text_file(svg), StartsWith("<?xml"));
  EXPECT_THAT(read_text_file(svg), HasSubstr("</svg>"));
  EXPECT_THAT(read_text_file(directory.path() / "a.png"), HasSubstr("PNG"));

  // Another box is another picture.
  TimelinePlot longer = two_rows();
  longer.rows[1].boxes.push_back({2, 4, 1, 0, "1"});
  write_timeline(directory.path() / "b.svg", longer);
  EXPECT_GT(read_text_file(directory.path() / "b.svg").size(), read_text_file(svg).size());

  EXPECT_THAT([&] { write_timeline(directory.path() / "a.gif", two_rows()); },
              ThrowsMessage<UsageError>(HasSubstr("a .svg or a .png")));
  EXPECT_THAT([&] { write_timeline(svg, {.title = "t"}); },
              ThrowsMessage<Error>(HasSubstr("nothing to draw")));
}

}  // namespace
}  // namespace megalith
