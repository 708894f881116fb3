# Both images from one file: docker build --target operator . (or broker). They hold one static binary and nothing else.
#
# BINARIES says where the binaries come from: "source" compiles them here, "prebuilt" takes bin/ of the build context,
# which is how hack/images builds them without a network. (buildah 1.28 wants the default spelled out, too:
# --build-arg BINARIES=source.)
ARG BINARIES=source

FROM golang:1.26 AS source
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=unknown
ARG COMMIT=unknown
RUN VERSION=$VERSION COMMIT=$COMMIT hack/build && cp bin/turnstone bin/turnstone-operator /

FROM scratch AS prebuilt
COPY bin/turnstone bin/turnstone-operator /

FROM ${BINARIES} AS binaries

FROM scratch AS operator
COPY --from=binaries /turnstone-operator /turnstone-operator
USER 65532:65532
ENTRYPOINT ["/turnstone-operator"]

FROM scratch AS broker
COPY --from=binaries /turnstone /turnstone
USER 65532:65532
EXPOSE 1883 8883 5672 5671 15671
ENTRYPOINT ["/turnstone"]
CMD ["serve"]
