// Checks of the CPU kernels for boxes and masks.
#ifndef KDET_TESTS_BOXES_AND_MASKS_H_
#define KDET_TESTS_BOXES_AND_MASKS_H_

#include "crop_masks/crop_masks_cpu.h"
#include "fast_nms/fast_nms_cpu.h"
#include "nms/nms_cpu.h"
#include "paste_masks/paste_masks_cpu.h"
#include "polygons/polygons_cpu.h"
#include "tests/checks.h"

namespace kdet {
namespace checks {

inline void check_suppression() {
  const auto boxes = random_boxes(3 * 200, 100);
  const auto scores = random_buffer<float>(3 * 200, 0, 1);
  const auto labels = random_ints(3 * 200, 0, 4);
  Buffer<int> indices[] = {Buffer<int>(150), Buffer<int>(150)}, counts[] = {Buffer<int>(3), Buffer<int>(3)};
  Buffer<float> kept(150);
  for (bool move : {false, true}) {
    for (int k = 0; k < 2; ++k) {
      nms({3, 200, 50, 0.5f, 0.1f}, boxes.get(), scores.get(), labels.get(), move, indices[k].get(), counts[k].get(),
          threads(k ? 4 : 1));
    }
    for (int64_t i = 0; i < 150; ++i) failures += indices[0].at[i] != indices[1].at[i];
  }
  for (bool gaussian : {false, true}) {
    soft_nms({3, 200, 50, 0.3f, 0.5f, 0.05f, gaussian}, boxes.get(), scores.get(), indices[0].get(),
                   kept.get(), counts[0].get(), threads(4));
  }
  Buffer<int> found(150);
  const auto by_class = random_buffer<float>(3 * 200 * 5, 0, 1);
  for (int k = 0; k < 2; ++k) {
    fast_nms({3, 200, 5, 40, 50, 0.5f, 0.5f}, boxes.get(), by_class.get(), indices[k].get(), found.get(), kept.get(),
             counts[k].get(), threads(k ? 4 : 1));
  }
  for (int64_t i = 0; i < 150; ++i) failures += indices[0].at[i] != indices[1].at[i];
  fast_nms({2, 0, 3, 0, 2, 0.5f, 0.5f}, nullptr, nullptr, indices[0].get(), found.get(), kept.get(), counts[0].get(),
           threads(4));
  failures += counts[0].at[0] != 0;
  nms({2, 0, 3, 0.5f, 0.1f}, nullptr, nullptr, nullptr, false, indices[0].get(), counts[0].get(), threads(4));
  failures += counts[0].at[0] != 0;
}

// So many boxes of one image that its threads share the comparisons, against the definition.
inline void check_large_suppression() {
  constexpr int kCount = 4000;
  const auto boxes = random_boxes(kCount, 3000);
  const auto scores = random_buffer<float>(kCount, 0, 1);
  Buffer<int> indices(kCount), count(1);
  nms({1, kCount, kCount, 0.7f, 0.1f}, boxes.get(), scores.get(), nullptr, false, indices.get(), count.get(),
      threads(4));
  std::vector<int> order, kept;
  for (int i = 0; i < kCount; ++i) {
    if (scores.at[i] > 0.1f) order.push_back(i);
  }
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return scores.at[a] > scores.at[b]; });
  for (int i : order) {
    const bool dropped = std::any_of(kept.begin(), kept.end(), [&](int k) {
      return box_iou(boxes.get() + 4 * k, boxes.get() + 4 * i) > 0.7f;
    });
    if (!dropped) kept.push_back(i);
  }
  const bool same_boxes = count.at[0] == int(kept.size()) && std::equal(kept.begin(), kept.end(), indices.get());
  if (!same_boxes) std::printf("FAILED nms of many boxes\n");
  failures += !same_boxes;
}

inline void check_crop() {
  const CropMasks p = {2, 3, 20, 37, 6, 7, 5};
  Buffer<uint8_t> masks(2 * 3 * 37 * 6);
  for (int64_t i = 0; i < masks.n; ++i) masks.get()[i] = uint8_t(generator());
  const auto boxes = random_boxes(40, 40);
  const auto index = random_ints(40, -1, 2);
  Buffer<float> out[] = {Buffer<float>(40 * 35), Buffer<float>(40 * 35)};
  for (int k = 0; k < 2; ++k) {
    crop_masks(p, masks.get(), boxes.get(), index.get(), out[k].get(), threads(k ? 4 : 1));
  }
  same("crop_masks", out[0], out[1], 0);
}

// A mask of ones pastes nothing above 1, and a box within the image the same for every element type.
template <typename T>
void check_paste(float tolerance) {
  const PasteMasks p = {20, 5, 7, 33, 41, 0.5f};
  const auto boxes = random_boxes(20, 40);
  const auto masks = random_buffer<T>(20 * 35, 0, 1);
  const int64_t size = 20 * 33 * 41;
  Buffer<float> out[] = {Buffer<float>(size), Buffer<float>(size)}, exact(size);
  Buffer<bool> binary(size);
  for (int k = 0; k < 2; ++k) paste_masks(p, masks.get(), boxes.get(), out[k].get(), threads(k ? 4 : 1));
  paste_masks(p, masks.get(), boxes.get(), binary.get(), threads(4));
  same("paste_masks", out[0], out[1], 0);
  paste_masks(p, floats(masks).get(), boxes.get(), exact.get(), threads(1));
  same("paste_masks, converted", out[0], exact, tolerance);
  for (int64_t i = 0; i < size; ++i) failures += binary.at[i] != (exact.at[i] >= 0.5f);
}

inline void check_polygons() {
  const Polygons p = {4, 30, 43};
  const std::vector<int> polygons = {0, 4, 14, 16, 16, 46, 50}, objects = {0, 1, 4, 5, 6};
  std::vector<double> points(100);
  std::uniform_real_distribution<double> numbers(-20, 60);
  for (double& value : points) value = numbers(generator);
  const double square[] = {3, 2, 13, 2, 13, 9, 3, 9}, huge[] = {-1e8, -1e8, 1e8, -1e8, 1e8, 1e8, -1e8, 1e8};
  std::copy(square, square + 8, points.begin());
  std::copy(huge, huge + 8, points.end() - 8);
  const int64_t bytes = 30 * 6;
  Buffer<uint8_t> out[] = {Buffer<uint8_t>(4 * bytes), Buffer<uint8_t>(4 * bytes)};
  for (int k = 0; k < 2; ++k) {
    rasterize_polygons(p, points.data(), polygons.data(), objects.data(), out[k].get(), threads(k ? 4 : 1));
  }
  for (int64_t i = 0; i < 4 * bytes; ++i) failures += out[0].at[i] != out[1].at[i];
  int area = 0, all = 0;
  for (int64_t i = 0; i < bytes * 8; ++i) {
    area += out[0].at[i / 8] >> (i % 8) & 1;
    all += out[0].at[3 * bytes + i / 8] >> (i % 8) & 1;
  }
  if (area != 70 || all != 30 * 43) {
    std::printf("FAILED polygons: areas of %d and %d\n", area, all);
    ++failures;
  }
}

}  // namespace checks
}  // namespace kdet

#endif  // KDET_TESTS_BOXES_AND_MASKS_H_
