#include "config.h"

#include "launch/binary.h"

#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"

enum { ID_BYTES = 32 };

typedef struct identity {
    unsigned char program[ID_BYTES], library[ID_BYTES]; /* zeros where there is none */
    char host[64];
} identity;

static bool contains(const struct dl_phdr_info *object, uintptr_t address)
{
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &object->dlpi_phdr[i];
        uintptr_t begin = object->dlpi_addr + part->p_vaddr;
        if (part->p_type == PT_LOAD && address >= begin && address < begin + part->p_memsz)
            return true;
    }
    return false;
}

static void read_notes(const unsigned char *at, size_t bytes, unsigned char *id)
{
    while (bytes >= sizeof(ElfW(Nhdr))) {
        ElfW(Nhdr) note;
        memcpy(&note, at, sizeof note);
        size_t name = ((size_t)note.n_namesz + 3) / 4 * 4, text = ((size_t)note.n_descsz + 3) / 4 * 4;
        size_t size = sizeof note + name + text;
        if (size > bytes)
            return;
        if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && memcmp(at + sizeof note, "GNU", 4) == 0)
            memcpy(id, at + sizeof note + name, note.n_descsz < ID_BYTES ? note.n_descsz : ID_BYTES);
        at += size;
        bytes -= size;
    }
}

static void read_id(const struct dl_phdr_info *object, unsigned char *id)
{
    for (int i = 0; i < object->dlpi_phnum; i++)
        if (object->dlpi_phdr[i].p_type == PT_NOTE)
            read_notes((const unsigned char *)(object->dlpi_addr + object->dlpi_phdr[i].p_vaddr),
                       object->dlpi_phdr[i].p_memsz, id);
}

typedef struct search {
    identity *mine;
    int n_objects;
} search;

/* The program comes first. */
static int look_at(struct dl_phdr_info *object, size_t size, void *user)
{
    search *s = user;
    (void)size;
    if (s->n_objects++ == 0)
        read_id(object, s->mine->program);
    if (contains(object, (uintptr_t)look_at))
        read_id(object, s->mine->library);
    return 0;
}

zrt_status zrt__binary_compare(const zrt__group *world, const char *host)
{
    identity mine = {{0}, {0}, ""}, *all = zrt__calloc((size_t)zrt__group_size(world), sizeof *all);
    dl_iterate_phdr(look_at, &(search){.mine = &mine});
    snprintf(mine.host, sizeof mine.host, "%s", host);
    zrt_status status = zrt__group_agree(world, all != NULL ? ZRT_OK : ZRT_ERR_MEMORY);
    if (status == ZRT_OK)
        status = zrt__group_all_gather(world, &mine, all, sizeof mine);
    for (int r = 1; r < zrt__group_size(world) && status == ZRT_OK; r++) {
        bool program = memcmp(all[r].program, all[0].program, ID_BYTES) != 0;
        if (program || memcmp(all[r].library, all[0].library, ID_BYTES) != 0)
            status = zrt__fail(ZRT_ERR_CONFIG,
                               "rank %d on host %s runs another build of %s than rank 0 on host %s: install the same "
                               "one on all hosts",
                               r, all[r].host, program ? "the program" : "libzerort", all[0].host);
    }
    free(all);
    return status;
}
