// What the TensorFlow wrappers of the suppression ops share.
#ifndef KDET_NMS_NMS_TF_H_
#define KDET_NMS_NMS_TF_H_

#include "common/tf_op.h"

namespace kdet {

// Checks boxes [B,N,4] and scores [B,N] or, with classes, [B,N,C]; gives B.
inline tensorflow::Status candidate_shapes(tensorflow::shape_inference::InferenceContext* c, int score_rank,
                                           tensorflow::shape_inference::DimensionHandle* batch) {
  tensorflow::shape_inference::ShapeHandle boxes, scores;
  tensorflow::shape_inference::DimensionHandle unused;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 3, &boxes));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(1), score_rank, &scores));
  TF_RETURN_IF_ERROR(c->WithValue(c->Dim(boxes, 2), 4, &unused));
  TF_RETURN_IF_ERROR(c->Merge(c->Dim(boxes, 1), c->Dim(scores, 1), &unused));
  return c->Merge(c->Dim(boxes, 0), c->Dim(scores, 0), batch);
}

// The same of the tensors.
inline tensorflow::Status check_candidates(const char* op, const Tensor& boxes, const Tensor& scores,
                                           int score_rank) {
  if (boxes.dims() != 3 || boxes.dim_size(2) != 4 || scores.dims() != score_rank ||
      scores.dim_size(0) != boxes.dim_size(0) || scores.dim_size(1) != boxes.dim_size(1)) {
    return tensorflow::errors::InvalidArgument(op, ": boxes must be [B,N,4] and scores ",
                                               score_rank == 2 ? "[B,N]" : "[B,N,C]", ", not ",
                                               boxes.shape().DebugString(), " and ", scores.shape().DebugString());
  }
  return tensorflow::OkStatus();
}

}  // namespace kdet

#endif  // KDET_NMS_NMS_TF_H_
