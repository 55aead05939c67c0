/* Between config_text.c and config_yaml.c; nobody else needs it.       layer: io; uses: base, config_text */
#ifndef IJ_IO_CONFIG_YAML_H
#define IJ_IO_CONFIG_YAML_H

#include "io/config_text.h"

/* Puts the entry into the list, replacing the one of the same key; on success the list owns its memory and *entry is zeroed. */
ij_status ij_config_merge(ij_config_text *config, ij_config_entry *entry, ij_error *err);

/* A copy of `name` that lives as long as the list. */
ij_status ij_config_add_source(ij_config_text *config, const char *name, const char **out, ij_error *err);

/* A plain, unquoted value whose source is --set. */
ij_status ij_config_put_override(ij_config_text *config, const char *key, const char *value, ij_error *err);

#endif
