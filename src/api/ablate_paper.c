/* The ablations of the paper as data: Assran et al. 2023 (arXiv 2301.08243), tables 6 to 14.       layer: api; uses: nothing below
 *
 * In tables 6 and 9 the context must be what the row says, so the recipes' cap on it (mask.context_keep) is set aside. */
#include "api/ablate.h"

#define B16 "ViT-B/16, 300 epochs"
#define UNCAPPED "; mask.context_keep=1"

static const ablate_row_desc mask[] = {
    {"multiblock", "multi-block",
     "mask.mode=multiblock; mask.num_pred_masks=4; mask.pred_mask_scale=[0.15, 0.2]; mask.enc_mask_scale=[0.85, 1.0]", B16, 54.2,
     ABLATE_AS_WRITTEN},
    {"rasterized", "rasterized", "mask.mode=rasterized; mask.num_pred_masks=3" UNCAPPED, B16, 15.5, ABLATE_AS_WRITTEN},
    {"block", "block (0.6)", "mask.mode=block; mask.num_pred_masks=1; mask.block_scale=0.6" UNCAPPED, B16, 20.2, ABLATE_AS_WRITTEN},
    {"random", "random (0.6)", "mask.mode=random; mask.num_pred_masks=1; mask.random_ratio=0.6" UNCAPPED, B16, 17.6, ABLATE_AS_WRITTEN},
};

static const ablate_row_desc targets[] = {
    {"latent", "target encoder's output", "meta.targets=latent", "ViT-L/16, 500 epochs", 66.9, ABLATE_AS_WRITTEN},
    {"pixels", "pixels", "meta.targets=pixels; meta.target_mask=output", "ViT-L/16, 800 epochs", 40.7, ABLATE_AS_WRITTEN},
};

static const ablate_row_desc target_scale[] = {
    {"0.075", "(0.075, 0.2)", "mask.pred_mask_scale=[0.075, 0.2]", B16, 19.2, ABLATE_AS_WRITTEN},
    {"0.1", "(0.1, 0.2)", "mask.pred_mask_scale=[0.1, 0.2]", B16, 39.2, ABLATE_AS_WRITTEN},
    {"0.125", "(0.125, 0.2)", "mask.pred_mask_scale=[0.125, 0.2]", B16, 42.4, ABLATE_AS_WRITTEN},
    {"0.15", "(0.15, 0.2)", "mask.pred_mask_scale=[0.15, 0.2]", B16, 54.2, ABLATE_AS_WRITTEN},
    {"0.2", "(0.2, 0.25)", "mask.pred_mask_scale=[0.2, 0.25]", B16, 38.9, ABLATE_AS_WRITTEN},
    {"0.2-0.3", "(0.2, 0.3)", "mask.pred_mask_scale=[0.2, 0.3]", B16, 33.6, ABLATE_AS_WRITTEN},
};

static const ablate_row_desc context_scale[] = {
    {"0.4", "(0.4, 1.0)", "mask.enc_mask_scale=[0.4, 1.0]" UNCAPPED, B16, 31.2, ABLATE_AS_WRITTEN},
    {"0.65", "(0.65, 1.0)", "mask.enc_mask_scale=[0.65, 1.0]" UNCAPPED, B16, 47.1, ABLATE_AS_WRITTEN},
    {"0.75", "(0.75, 1.0)", "mask.enc_mask_scale=[0.75, 1.0]" UNCAPPED, B16, 49.3, ABLATE_AS_WRITTEN},
    {"0.85", "(0.85, 1.0)", "mask.enc_mask_scale=[0.85, 1.0]" UNCAPPED, B16, 54.2, ABLATE_AS_WRITTEN},
};

static const ablate_row_desc target_count[] = {
    {"1", "1", "mask.num_pred_masks=1", B16, 9.0, ABLATE_AS_WRITTEN},
    {"2", "2", "mask.num_pred_masks=2", B16, 22.0, ABLATE_AS_WRITTEN},
    {"3", "3", "mask.num_pred_masks=3", B16, 48.5, ABLATE_AS_WRITTEN},
    {"4", "4", "mask.num_pred_masks=4", B16, 54.2, ABLATE_AS_WRITTEN},
};

static const ablate_row_desc target_mask[] = {
    {"output", "target encoder's output", "meta.target_mask=output", "ViT-H/16, 300 epochs", 67.3, ABLATE_AS_WRITTEN},
    {"input", "target encoder's input", "meta.target_mask=input", "ViT-H/16, 300 epochs", 56.1, ABLATE_AS_WRITTEN},
};

static const ablate_row_desc predictor_depth[] = {
    {"half", "6 blocks", "", "ViT-L/16, 500 epochs", 64.0, ABLATE_DEPTH_HALF},
    {"full", "12 blocks", "", "ViT-L/16, 500 epochs", 66.9, ABLATE_DEPTH_FULL},
};

static const ablate_row_desc weight_decay[] = {
    {"increasing", "0.04 to 0.4", "optimization.weight_decay=0.04; optimization.final_weight_decay=0.4", "ViT-L/16, 600 epochs", 69.4,
     ABLATE_AS_WRITTEN},
    {"constant", "0.05", "optimization.weight_decay=0.05; optimization.final_weight_decay=0.05", "ViT-L/16, 600 epochs", 70.7,
     ABLATE_AS_WRITTEN},
};

static const ablate_row_desc predictor_width[] = {
    {"narrow", "384", "", "ViT-L/16, 600 epochs", 70.7, ABLATE_WIDTH_NARROW},
    {"full", "1024", "", "ViT-L/16, 600 epochs", 68.4, ABLATE_WIDTH_FULL},
};

static const ablate_row_desc loss[] = {
    {"smooth-l1", "smooth L1", "meta.loss=smooth_l1", NULL, 0, ABLATE_AS_WRITTEN},
    {"l2", "squared L2", "meta.loss=l2", NULL, 0, ABLATE_AS_WRITTEN},
    {"l1", "L1", "meta.loss=l1", NULL, 0, ABLATE_AS_WRITTEN},
};

#define CAPPED                                                                                                                             \
    "Where the base caps the context (mask.context_keep), rows differ in their targets alone; in the paper fewer or smaller targets "      \
    "leave "                                                                                                                               \
    "more context."
#define ROWS(table) table, IJ_COUNT(table)
const ablate_table_desc ablate_tables[] = {
    {"mask", "what is hidden", "table 6",
     "But for multi-block the context is all that is not hidden: mask.context_keep does not cut it, as it may do in the base.", ROWS(mask)},
    {"targets", "what is predicted", "table 7", "", ROWS(targets)},
    {"target_scale", "size of a target block", "table 8", CAPPED, ROWS(target_scale)},
    {"context_scale", "size of the context block", "table 9",
     "mask.context_keep is 1 in all rows: a cap on the context would hide its scale.", ROWS(context_scale)},
    {"target_count", "number of target blocks", "table 10", CAPPED, ROWS(target_count)},
    {"target_mask", "where target blocks are cut out", "table 11", "", ROWS(target_mask)},
    {"predictor_depth", "depth of the predictor", "table 12", "Scaled to the base: its predictor's depth, and half of it.",
     ROWS(predictor_depth)},
    {"weight_decay", "weight decay", "table 13",
     "The paper's linear probe with all labels says the opposite: 77.8 increasing, 76.4 constant.", ROWS(weight_decay)},
    {"predictor_width", "width of the predictor", "table 14", "Scaled to the base: its predictor's width, and the encoder's.",
     ROWS(predictor_width)},
    {"loss", "distance between prediction and target", "", "No table of the paper: its text has squared L2, the released code smooth L1.",
     ROWS(loss)},
};
const int ablate_table_count = IJ_COUNT(ablate_tables);
