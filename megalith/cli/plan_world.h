#pragma once
// defines: print_layout, print_best_layouts

#include "megalith/plan/layout_search.h"

namespace megalith {

/// To stdout: memory of the fullest rank, the step's time by part, the traffic of each axis.
void print_layout(const LayoutEstimate& estimate, const Cluster& cluster);
/// To stdout: one line for each, with the flags that ask for it.
void print_best_layouts(const SearchResult& found, const Cluster& cluster);

}  // namespace megalith
