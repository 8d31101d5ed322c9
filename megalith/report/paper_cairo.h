#pragma once
// defines: Colour, kInk, kFaint, Align, Weight, Paper, write_picture
// For the files that draw; compiled where cairo is installed.

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include <cairo.h>

namespace megalith {

struct Colour {
  double r, g, b;
};
constexpr Colour kInk = {0.13, 0.15, 0.18};
constexpr Colour kFaint = {0.45, 0.48, 0.52};

enum class Align { kLeft, kCentre, kRight };
enum class Weight { kNormal, kBold };

/// Paper with pens; coordinates in pixels from the upper left corner.
class Paper {
 public:
  /// White; takes the surface over.
  Paper(cairo_surface_t* surface, int width, int height);

  cairo_t* pen() { return cairo_.get(); }
  cairo_surface_t* surface() { return surface_.get(); }

  void set(const Colour& c, double alpha) { cairo_set_source_rgba(pen(), c.r, c.g, c.b, alpha); }
  void font(double size, Weight weight);
  double text_width(const std::string& text);
  void text(double x, double y, const std::string& text, Align align);
  void line(double x0, double y0, double x1, double y1, double width);

 private:
  std::unique_ptr<cairo_surface_t, void (*)(cairo_surface_t*)> surface_;
  std::unique_ptr<cairo_t, void (*)(cairo_t*)> cairo_;
};

/// Draws into a .svg or .png file, by its extension; throws UsageError for others and Error when it fails.
void write_picture(const std::filesystem::path& path, int width, int height,
                   const std::function<void(Paper&)>& draw);

}  // namespace megalith
