/* Modules that a regular expression names. */
#ifndef ZRT_NN_MODULE_EXPRESSION_H
#define ZRT_NN_MODULE_EXPRESSION_H

#include <zerort/model.h>

/* Modules of the model whose whole name matches, as Python's re.fullmatch does it; `where` is for messages. Gives a list that ends with
 * NULL and its strings, released by zrt__module_names_free. Local.
 * Errors: ZRT_ERR_CONFIG (no expression, or one that matches nothing or a module that has no weights of its own). */
zrt_status zrt__module_names_match(const char *where, const zrt_model *model, const char *expression, char ***names_out,
                                   int *n_out);
void zrt__module_names_free(char ***names);

#endif
