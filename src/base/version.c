#include "config.h"

#include <zerort/version.h>

const char *zrt_version(void)
{
    return ZRT_VERSION;
}
