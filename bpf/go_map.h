/* Go maps with u32 keys and pointers for values, read from outside. */
#ifndef OTEL_EBPF_GO_MAP_H
#define OTEL_EBPF_GO_MAP_H

#include "unit.h"

/* Since Go 1.24: internal/runtime/maps. A group: eight control bytes (bit 7: no entry),
 * then eight times key and value. User space checks these offsets. */
#define SWISS_DIR 16 /* dirPtr, dirLen */
#define SWISS_TABLE_GROUPS 16 /* groups.data, groups.lengthMask */
#define SWISS_GROUP 136
#define SWISS_ABSENT 0x80

/* Before: runtime.hmap. A bucket: eight bytes of hashes, eight keys, eight values, the
 * next bucket. */
#define HMAP_FLAGS 8
#define HMAP_BUCKET 112
#define HMAP_SAME_SIZE 8
#define HMAP_FULL 5 /* smaller bytes of hashes are no hashes */

enum go_group { GROUP_END = 0, GROUP_READ = 1, GROUP_SKIP = 2 };

INLINE void go_map_start(struct go_map_t *m, struct proc_info_t *pi, u64 map)
{
	u64 words[3] = {};

	m->left = 0;
	m->next = 0;
	m->dir = 0;
	m->dir_left = 0;
	m->table = 0;
	m->old = pi->swiss ? 0 : ~0ULL;
	if (pi->swiss) {
		m->size = SWISS_GROUP;
		READ_USER(words, map, SWISS_DIR);
		if (words[1]) {
			m->dir = words[0];
			m->dir_left = words[1];
		} else if (words[0]) { /* a small map is one group */
			m->groups = words[0];
			m->left = 1;
		}
		return;
	}
	m->size = HMAP_BUCKET;
	READ_USER(words, map, HMAP_FLAGS); /* flags, B, ...; buckets; oldbuckets */
	u32 b = words[0] >> 8 & 31;
	m->groups = words[1];
	m->left = words[1] ? 1ULL << b : 0;
	m->dir = words[2];
	if (words[2])
		m->dir_left = words[0] & HMAP_SAME_SIZE ? 1ULL << b : 1ULL << b >> 1;
}

/* Takes one step: the next group, if one is at hand, is at `found`, and is `m->size` bytes. */
INLINE u32 go_map_at(struct go_map_t *m, u64 *found)
{
	u64 at = m->next;

	if (!at) {
		if (!m->left) {
			if (!m->dir_left)
				return GROUP_END;
			if (m->old) {
				m->groups = m->dir;
				m->left = m->dir_left;
				m->dir_left = 0;
				return GROUP_SKIP;
			}
			u64 table = 0, groups[2] = {};
			READ_USER(table, m->dir, 0);
			m->dir += 8;
			m->dir_left -= 1;
			/* Neighbours in the directory may be one table. */
			if (!table || table == m->table)
				return GROUP_SKIP;
			m->table = table;
			READ_USER(groups, table, SWISS_TABLE_GROUPS);
			m->groups = groups[0];
			m->left = groups[0] ? groups[1] + 1 : 0;
			return GROUP_SKIP;
		}
		at = m->groups;
		m->groups += m->size;
		m->left -= 1;
	}
	m->next = 0;
	*found = at;
	return GROUP_READ;
}

/* The same, and reads it. */
INLINE u32 go_map_next(struct go_map_t *m)
{
	u64 at = 0;
	u32 step = go_map_at(m, &at);

	if (step != GROUP_READ)
		return step;
	if (m->old) {
		if (read_user(m->words, HMAP_BUCKET, at))
			return GROUP_SKIP;
		m->next = m->words[13];
	} else if (read_user(m->words, SWISS_GROUP, at)) {
		return GROUP_SKIP;
	}
	return GROUP_READ;
}

/* Slot i of the group at hand: returns 1 and sets key and value, or 0. Without branches:
 * the verifier follows each way through a loop's body in every round. */
INLINE u64 go_map_slot(struct go_map_t *m, u32 i, u32 *key, u64 *value)
{
	u64 control = m->words[0] >> (8 * (i & 7)) & 0xff;
	u64 old = m->old, now = ~old; /* all bits or none */
	u64 keys = (1 + 2 * (i & 7)) & now | (1 + (i >> 1 & 3)) & old;
	u64 values = (2 + 2 * (i & 7)) & now | (5 + (i & 7)) & old;
	u64 full = ((control >> 7) ^ 1) & now | ((control + 256 - HMAP_FULL) >> 8) & old;

	*key = m->words[within(keys, 32)] >> ((i & 1) << 5 & old);
	*value = m->words[within(values, 32)];
	return full & 1;
}

#endif
