# One image for every service: `docker run IMAGE tag-store`. Small, not root, nothing to write to but /data.
FROM node:24-slim AS build
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
COPY apps ./apps
COPY libs ./libs
RUN npm ci --loglevel=error
COPY tsconfig.json tsconfig.base.json rolldown.config.js ./
RUN node node_modules/rolldown/bin/cli.mjs -c && npm prune --omit=dev --omit=optional --loglevel=error \
 && rm -rf node_modules/@millrace node_modules/.cache && find node_modules \( -name '*.md' -o -name '*.d.ts' -o -name '*.map' \) -type f -delete

FROM node:24-slim
ENV NODE_ENV=production MALLOC_MMAP_THRESHOLD_=32768
WORKDIR /app
COPY --from=build /build/package.json ./
COPY --from=build /build/node_modules ./node_modules
COPY --from=build /build/dist ./dist
RUN mkdir /data && chown node:node /data
USER node
VOLUME /data
# The flags of package.json's nodeFlags; above, its nodeEnvironment.
ENTRYPOINT ["node", "--max-semi-space-size=2", "--no-parallel-scavenge", "--max-old-space-size=384", "dist/millrace.js"]
CMD ["all"]
