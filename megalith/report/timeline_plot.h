#pragma once
// defines: TimelineBox, TimelineRow, TimelinePlot, write_timeline

#include <filesystem>
#include <string>
#include <vector>

namespace megalith {

/// One piece of work, drawn where it happens.
struct TimelineBox {
  double begin = 0;
  double end = 0;
  int kind = 0;   ///< index into TimelinePlot::kinds
  int shade = 0;  ///< of the kind's colour, from 0, the strongest
  std::string label;
};

struct TimelineRow {
  std::string label;
  std::string note;  ///< behind the row
  std::vector<TimelineBox> boxes;
};

struct TimelinePlot {
  std::string title;
  std::string subtitle;
  std::vector<std::string> kinds;  ///< at most four: one colour each; those in use are in the legend
  std::vector<TimelineRow> rows;
  int width = 1600;  ///< pixels of a PNG, points of an SVG; the height follows from the rows
};

/// One row per worker, time from left to right, idle time left white. The extension decides: .svg or .png.
/// Throws UsageError for others, Error when there is nothing to draw and when this build has no cairo.
void write_timeline(const std::filesystem::path& path, const TimelinePlot& plot);

}  // namespace megalith
