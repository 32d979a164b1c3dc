// NMS and soft-NMS on CUDA: one block per picture takes the best box again and again.
#include "common/best.h"
#include "nms/nms_cuda.h"

namespace kdet {
namespace {

// Scores that a candidate keeps until it is gone, which is -infinity. lower(score, taken, i) is what the score
// of box i becomes once box `taken` was taken. Returns how many boxes were taken; kept may be null.
template <typename Lower>
__device__ int take_best(int64_t boxes, int64_t max_output, float* live, int* indices, float* kept,
                         const Lower& lower) {
  for (int64_t k = threadIdx.x; k < max_output; k += blockDim.x) {
    indices[k] = 0;
    if (kept) kept[k] = 0;
  }
  __syncthreads();
  int count = 0;
  for (; count < max_output; ++count) {
    Best mine = nobody();
    for (int64_t i = threadIdx.x; i < boxes; i += blockDim.x) {
      if (live[i] > -INFINITY && mine.loses_to(live[i], i)) mine = {live[i], i};
    }
    const Best best = best_of_block(mine);
    if (best.index < 0) break;
    if (threadIdx.x == 0) {
      indices[count] = int(best.index);
      if (kept) kept[count] = best.score;
    }
    for (int64_t i = threadIdx.x; i < boxes; i += blockDim.x) {
      if (live[i] > -INFINITY) live[i] = i == best.index ? -INFINITY : lower(live[i], best.index, i);
    }
  }
  return count;
}

__global__ void nms_kernel(Nms p, const float* boxes, const float* scores, const int* labels, float* live,
                           int* indices, int* counts) {
  const int64_t first = blockIdx.x * p.boxes;
  for (int64_t i = threadIdx.x; i < p.boxes; i += blockDim.x) {
    live[first + i] = scores[first + i] > p.score_threshold ? scores[first + i] : -INFINITY;
  }
  const int count = take_best(p.boxes, p.max_output, live + first, indices + blockIdx.x * p.max_output, nullptr,
                              [&](float score, int64_t taken, int64_t i) {
                                const bool rivals = labels[first + taken] == labels[first + i];
                                const float *a = boxes + 4 * (first + taken), *b = boxes + 4 * (first + i);
                                return rivals && box_iou(a, b) > p.iou_threshold ? -INFINITY : score;
                              });
  if (threadIdx.x == 0) counts[blockIdx.x] = count;
}

__global__ void soft_nms_kernel(SoftNms p, const float* boxes, const float* scores, float* live, int* indices,
                                float* kept, int* counts) {
  const int64_t first = blockIdx.x * p.boxes, to = blockIdx.x * p.max_output;
  for (int64_t i = threadIdx.x; i < p.boxes; i += blockDim.x) live[first + i] = scores[first + i];
  const int count =
      take_best(p.boxes, p.max_output, live + first, indices + to, kept + to,
                [&](float score, int64_t taken, int64_t i) {
                  return lowered_score(p, score, box_iou(boxes + 4 * (first + taken), boxes + 4 * (first + i)));
                });
  if (threadIdx.x == 0) counts[blockIdx.x] = count;
}

}  // namespace
}  // namespace kdet

extern "C" cudaError_t kdet_cuda_nms(const kdet::Nms* p, const float* boxes, const float* scores, const int* labels,
                                     float* live, int* indices, int* counts, cudaStream_t stream) {
  if (p->batch == 0) return cudaSuccess;
  kdet::nms_kernel<<<int(p->batch), kdet::kThreads, 0, stream>>>(*p, boxes, scores, labels, live, indices, counts);
  return cudaGetLastError();
}

extern "C" cudaError_t kdet_cuda_soft_nms(const kdet::SoftNms* p, const float* boxes, const float* scores,
                                          float* live, int* indices, float* kept, int* counts,
                                          cudaStream_t stream) {
  if (p->batch == 0) return cudaSuccess;
  kdet::soft_nms_kernel<<<int(p->batch), kdet::kThreads, 0, stream>>>(*p, boxes, scores, live, indices, kept,
                                                                      counts);
  return cudaGetLastError();
}
