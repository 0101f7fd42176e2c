import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ImageStreams, ImageStreamTags, Namespaces, resources } from '@millrace/contracts/resources';
import type { RunningService } from '@millrace/platform/service';
import { eventually } from '@millrace/testing/eventually';
import { kubectl as kubectlOf, startKubectl } from '@millrace/testing/kubectl';
import { aNatsServer } from '@millrace/testing/servers';
import { hasTool } from '@millrace/testing/tools';
import { anApi, type Api } from './fixture-api.ts';
import { anOwner, type MapOwner } from './fixture-owner.ts';

let nats: Awaited<ReturnType<typeof aNatsServer>>;
let api: Api;
let owner: MapOwner;
let services: RunningService[];

beforeAll(async () => {
  nats = await aNatsServer();
  const tagStore = await anOwner('tag-store', nats.url);
  const dispatcher = await anOwner('trigger-dispatcher', nats.url);
  owner = tagStore.owner;
  services = [tagStore.service, dispatcher.service];
  owner.put(Namespaces, { metadata: { name: 'demo' }, status: { phase: 'Active' } });
  api = await anApi(nats.url);
});
afterAll(async () => {
  await api?.stop();
  for (const service of services ?? []) await service.stop();
  await nats?.stop();
});

const kubectl = (args: string, input?: string) => kubectlOf(api, args, input);
const manifest = (tags: string[], name = 'web') =>
  JSON.stringify({
    apiVersion: 'image.openshift.io/v1',
    kind: 'ImageStream',
    metadata: { name },
    spec: { tags: tags.map((tag) => ({ name: tag, from: { kind: 'DockerImage', name: `quay.io/x/y:${tag}` } })) },
  });

describe.runIf(hasTool('kubectl'))('kubectl', () => {
  it('finds the kinds by discovery', async () => {
    const said = await kubectl('api-resources');

    expect(said).toMatch(/^imagestreams\s+is\s+image.openshift.io\/v1\s+true\s+ImageStream$/m);
    expect(said).toMatch(/^imagetriggers\s+itrig\s+triggers.millrace.dev\/v1\s+true\s+ImageTrigger$/m);
    expect(said).toMatch(/^namespaces\s+ns\s+v1\s+false\s+Namespace$/m);
  });

  it('takes the server for a Kubernetes of its own age', async () => {
    const said = await kubectl('version');

    expect(said).toContain('Server Version: v1.32.0+millrace-0.1.0');
    expect(said).not.toContain('WARNING');
  });

  it('applies, applies again, changes and drops tags by name, with validation by the server', async () => {
    expect(await kubectl('apply -f -', manifest(['1', '2']))).toBe('imagestream.image.openshift.io/web created\n');
    expect(await kubectl('apply -f -', manifest(['1', '2']))).toBe('imagestream.image.openshift.io/web unchanged\n');
    expect(await kubectl('apply -f -', manifest(['2', '3']))).toBe('imagestream.image.openshift.io/web configured\n');
    expect(await kubectl('get is web -o jsonpath={.spec.tags[*].name}')).toBe('2 3');
    const patch = owner.asked.filter(({ verb }) => verb === 'update');
    expect(patch).toHaveLength(1);
  });

  it('refuses a misspelt field, as the server says', async () => {
    const misspelt = manifest(['1'], 'odd').replace('"spec":{', '"spec":{"lookupPolcy":{},');

    expect(await kubectl('create -f -', misspelt)).toContain('strict decoding error: unknown field "spec.lookupPolcy"');
    expect(await kubectl('create --validate=warn -f -', misspelt)).toContain('Warning: unknown field "spec.lookupPolcy"');
  });

  it('applies on the server', async () => {
    expect(await kubectl('apply --server-side -f -', manifest(['1'], 'ssa'))).toContain(
      'imagestream.image.openshift.io/ssa serverside-applied',
    );
    expect(await kubectl('apply --server-side -f -', manifest(['1', '2'], 'ssa'))).toContain('serverside-applied');
    expect(await kubectl('get is ssa -o jsonpath={.spec.tags[*].name}')).toBe('1 2');
  });

  it('prints tables, YAML, names and lists of several kinds', async () => {
    owner.put(ImageStreams, {
      metadata: { name: 'tabled', namespace: 'demo' },
      status: {
        dockerImageRepository: 'reg/demo/tabled',
        tags: [{ tag: 'v1', items: [{ created: new Date(Date.now() - 3 * 86_400_000).toISOString() }] }],
      },
    });
    owner.put(ImageStreamTags, {
      metadata: { name: 'tabled:v1', namespace: 'demo' },
      image: { metadata: { name: 'sha256:1' }, dockerImageReference: 'reg/demo/tabled@sha256:1' },
    });

    expect(await kubectl('get is tabled')).toMatch(/^NAME +IMAGE REPOSITORY +TAGS +UPDATED\ntabled +reg\/demo\/tabled +v1 +3 days ago\n$/);
    expect(await kubectl('get istag -o wide')).toMatch(
      /^NAME +IMAGE REFERENCE +UPDATED +IMAGE NAME\ntabled:v1 +reg\/demo\/tabled@sha256:1 .* sha256:1\n$/,
    );
    expect(await kubectl('get istag tabled:v1 -o yaml')).toContain('kind: ImageStreamTag\n');
    expect(await kubectl('get is,istag -A -o name')).toContain('imagestreamtag.image.openshift.io/tabled:v1\n');
    expect(await kubectl('get ns')).toMatch(/demo +Active/);
  });

  it('says what the owner says about what is missing', async () => {
    expect(await kubectl('get is none')).toBe('Error from server (NotFound): imagestreams.image.openshift.io "none" not found\n');
  });

  it('labels, annotates, patches and edits with a replace', async () => {
    await kubectl('create -f -', manifest(['1'], 'marked'));

    expect(await kubectl('label is marked a=b')).toBe('imagestream.image.openshift.io/marked labeled\n');
    expect(await kubectl('annotate is marked x=y')).toBe('imagestream.image.openshift.io/marked annotated\n');
    expect(await kubectl('patch is marked --type=json -p [{"op":"remove","path":"/spec/tags"}]')).toContain('patched');
    expect(await kubectl('get is -l a=b -o name')).toBe('imagestream.image.openshift.io/marked\n');
    expect(await kubectl('replace -f -', await kubectl('get is marked -o json'))).toContain('replaced');
    expect(await kubectl('describe is marked')).toMatch(/Labels: +a=b/);
  });

  it('explains kinds and fields from OpenAPI', async () => {
    const said = await kubectl('explain imagestream.spec.tags');

    expect(said).toMatch(/GROUP: +image.openshift.io\nKIND: +ImageStream\nVERSION: +v1/);
    expect(said).toContain('FIELD: tags <[]TagReference>');
    expect(said).toMatch(/importPolicy\t<TagImportPolicy>\n +How the image is imported\./);
    expect(await kubectl('explain is.spec.tags --output=plaintext-openapiv2')).toMatch(
      /KIND: +ImageStream\nVERSION: +image.openshift.io\/v1/,
    );
  });

  it('rehearses on the server, and shows the difference', async () => {
    expect(await kubectl('create --dry-run=server -f -', manifest(['1'], 'dry'))).toBe(
      'imagestream.image.openshift.io/dry created (server dry run)\n',
    );
    expect(await kubectl('get is dry --ignore-not-found')).toBe('');

    await kubectl('apply -f -', manifest(['1'], 'dry'));
    expect(await kubectl('diff -f -', manifest(['2'], 'dry'))).toMatch(/^-.*name: "1"$[^]*^\+.*name: "2"$/m);
    expect(await kubectl('delete --dry-run=server is dry')).toBe('imagestream.image.openshift.io "dry" deleted (server dry run)\n');
    expect(await kubectl('get is dry -o name')).toBe('imagestream.image.openshift.io/dry\n');
  });

  it('waits for a field and for the end of an object', async () => {
    await kubectl('create -f -', manifest(['1'], 'awaited'));
    const field = kubectl('wait is/awaited --for=jsonpath={.spec.lookupPolicy.local}=true --timeout=20s');
    const end = kubectl('wait is/awaited --for=delete --timeout=20s');

    await kubectl('patch is awaited -p {"spec":{"lookupPolicy":{"local":true}}}');
    expect(await field).toBe('imagestream.image.openshift.io/awaited condition met\n');
    await kubectl('delete is awaited --wait=false');
    expect(await end).toMatch(/condition met|deleted/);
  });

  it('selects by field and label, page by page', async () => {
    for (const name of ['a', 'b', 'c']) await kubectl('create -n paged -f -', manifest([], name));
    await kubectl('label -n paged is a b tier=web');

    expect(await kubectl('get is -n paged --chunk-size=1 -o jsonpath={.items[*].metadata.name}')).toBe('a b c');
    expect(await kubectl('get is -n paged --field-selector metadata.name=b -o name')).toBe('imagestream.image.openshift.io/b\n');
    expect(await kubectl('get is -n paged -l tier=web -o jsonpath={.items[*].metadata.name}')).toBe('a b');
  });

  it('is told of a conflict between who applies', async () => {
    await kubectl('apply --server-side --field-manager=one -f -', manifest(['1'], 'contested'));
    const other = manifest(['1'], 'contested').replace('quay.io', 'docker.io');

    const refused = await kubectl('apply --server-side --field-manager=two -f -', other);
    expect(refused).toContain('Apply failed with 1 conflict: conflict with "one": .spec.tags[name="1"].from');
    expect(await kubectl('apply --server-side --field-manager=two --force-conflicts -f -', other)).toContain('serverside-applied');
    expect(await kubectl('get is contested --show-managed-fields -o jsonpath={.metadata.managedFields[*].manager}')).toBe('one two');
  });

  it('goes on with server-side apply from what it applied itself', async () => {
    await kubectl('apply -f -', manifest(['1', '2'], 'moved'));
    await kubectl('apply --server-side -f -', manifest(['2', '3'], 'moved'));
    expect(await kubectl('apply --server-side -f -', manifest(['3'], 'moved'))).toContain('serverside-applied');

    expect(await kubectl('get is moved -o jsonpath={.spec.tags[*].name}')).toBe('3');
  });

  it.each(resources.map(({ kind, resource, group }) => [kind, `${resource}.${group}`]))('explains %s', async (kind, name) => {
    expect(await kubectl(`explain ${name}`)).toMatch(new RegExp(`^(GROUP: +\\S+\\n)?KIND: +${kind}\\nVERSION: +v1\\n`));
  });

  it('watches', async () => {
    await kubectl('create -f -', manifest(['1'], 'watched'));
    const child = startKubectl(api, 'get is watched -w --output-watch-events');
    let said = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (said += text));
    try {
      await eventually(() => expect(said).toMatch(/^ADDED +watched/m));
      await kubectl('label is watched a=b');
      await eventually(() => expect(said).toMatch(/^MODIFIED +watched/m));
      expect(await kubectl('delete is watched')).toBe('imagestream.image.openshift.io "watched" deleted\n');
      await eventually(() => expect(said).toMatch(/^DELETED +watched/m));
    } finally {
      child.kill();
    }
  });

  it('deletes one, and all of a namespace', async () => {
    await kubectl('create -n gone -f -', manifest(['1'], 'x'));
    await kubectl('create -n gone -f -', manifest(['1'], 'y'));

    expect(await kubectl('delete is --all -n gone')).toContain('imagestream.image.openshift.io "y" deleted');
    expect(await kubectl('get is -n gone')).toBe('No resources found in gone namespace.\n');
  });

  it('makes, labels and deletes namespaces, though it sends them as protobuf', async () => {
    expect(await kubectl('create ns team')).toBe('namespace/team created\n');
    expect(await kubectl('create ns team')).toContain('Error from server (AlreadyExists): namespaces "team" already exists');
    expect(await kubectl('label ns team a=b')).toBe('namespace/team labeled\n');
    expect(await kubectl('get ns -l a=b -o name')).toBe('namespace/team\n');
    expect(await kubectl('delete ns team')).toBe('namespace "team" deleted\n');
    expect(await kubectl('get ns team')).toBe('Error from server (NotFound): namespaces "team" not found\n');
  });

  it('makes secrets, and applies them', async () => {
    const pull = 'create secret docker-registry creds --docker-server=e.io --docker-username=u --docker-password=p';
    const secret = JSON.stringify({ apiVersion: 'v1', kind: 'Secret', metadata: { name: 'app' }, data: { a: 'YQ==' } });

    expect(await kubectl(pull)).toBe('secret/creds created\n');
    expect(await kubectl('create secret generic keys --from-literal=k=v')).toBe('secret/keys created\n');
    expect(await kubectl('get secrets')).toMatch(/^creds +kubernetes.io\/dockerconfigjson +1 /m);
    expect(await kubectl('get secret keys -o jsonpath={.data.k}')).toBe('dg==');
    expect(await kubectl('apply -f -', secret)).toBe('secret/app created\n');
    expect(await kubectl('apply -f -', secret)).toBe('secret/app unchanged\n');
    expect(await kubectl('delete secrets creds keys app')).toContain('secret "app" deleted');
  });

  it('applies workloads, changes images by the names of containers, and prints them as a cluster does', async () => {
    const containers = [
      { name: 'web', image: 'a:1' },
      { name: 'log', image: 'b:1' },
    ];
    const deployment = (web: string) =>
      JSON.stringify({
        apiVersion: 'apps/v1',
        kind: 'Deployment',
        metadata: { name: 'web' },
        spec: {
          replicas: 2,
          selector: { matchLabels: { app: 'web' } },
          template: { metadata: { labels: { app: 'web' } }, spec: { containers: [{ ...containers[0], image: web }, containers[1]] } },
        },
      });

    expect(await kubectl('apply -f -', deployment('a:1'))).toBe('deployment.apps/web created\n');
    expect(await kubectl('apply -f -', deployment('a:1'))).toBe('deployment.apps/web unchanged\n');
    expect(await kubectl('apply -f -', deployment('a:2'))).toBe('deployment.apps/web configured\n');
    expect(await kubectl('set image deploy/web log=b:2')).toBe('deployment.apps/web image updated\n');
    expect(await kubectl('get deploy web -o jsonpath={.spec.template.spec.containers[*].image}')).toBe('a:2 b:2');
    expect(await kubectl('get deploy -o wide')).toMatch(
      /^NAME +READY +UP-TO-DATE +AVAILABLE +AGE +CONTAINERS +IMAGES +SELECTOR\nweb +0\/2 +0 +0 +\w+ +web,log +a:2,b:2 +app=web\n$/,
    );
    expect(await kubectl('apply --server-side --force-conflicts -f -', deployment('a:2'))).toBe('deployment.apps/web serverside-applied\n');
    expect(await kubectl('explain deployment.spec.template.spec.containers.image')).toContain('A trigger puts the image of its tag here');
    expect(await kubectl('delete deploy web')).toContain('deployment.apps "web" deleted');
  });

  it('makes workloads, and applies OpenShift’s', async () => {
    const config = (triggers: object[]) =>
      JSON.stringify({ apiVersion: 'apps.openshift.io/v1', kind: 'DeploymentConfig', metadata: { name: 'web' }, spec: { triggers } });

    expect(await kubectl('create deployment made --image=a:1 --image=b:1 --replicas=3')).toBe('deployment.apps/made created\n');
    expect(await kubectl('create deployment port --image=a:1 --port=80')).toBe('deployment.apps/port created\n');
    expect(await kubectl('create cronjob made --image=a:1 --schedule=@daily')).toBe('cronjob.batch/made created\n');
    expect(await kubectl('create job made --image=a:1')).toBe('job.batch/made created\n');
    expect(await kubectl('get deploy made -o jsonpath={.spec.replicas},{.spec.template.spec.containers[*].image}')).toBe('3,a:1 b:1');
    expect(await kubectl('get deploy port -o jsonpath={.spec.template.spec.containers[0].ports[0].containerPort}')).toBe('80');
    expect(await kubectl('get cj made -o jsonpath={.spec.schedule},{.spec.jobTemplate.spec.template.spec.restartPolicy}')).toBe(
      '@daily,OnFailure',
    );
    expect(await kubectl('run made --image=a:1')).toBe('pod/made created\n');
    expect(await kubectl('get cj,po -o name')).toBe('cronjob.batch/made\npod/made\n');
    expect(await kubectl('apply -f -', config([]))).toBe('deploymentconfig.apps.openshift.io/web created\n');
    expect(await kubectl('apply -f -', config([{ type: 'ConfigChange' }]))).toBe('deploymentconfig.apps.openshift.io/web configured\n');
    expect(await kubectl('get dc')).toMatch(/^NAME +REVISION +DESIRED +CURRENT +TRIGGERED BY\nweb +0 +1 +0 +config\n$/);
  });

  it('makes service accounts, and links secrets to them by name', async () => {
    const linked = () => kubectl('get sa robot -o jsonpath={.imagePullSecrets[*].name}');

    expect(await kubectl('create serviceaccount robot')).toBe('serviceaccount/robot created\n');
    expect(await kubectl('patch serviceaccount robot -p {"imagePullSecrets":[{"name":"quay"}]}')).toBe('serviceaccount/robot patched\n');
    expect(await kubectl('patch sa robot -p {"imagePullSecrets":[{"name":"hub"}],"secrets":[{"name":"git"}]}')).toContain('patched');
    expect((await linked()).split(' ').sort()).toEqual(['hub', 'quay']);
    expect(await kubectl('patch sa robot -p {"imagePullSecrets":[{"$patch":"delete","name":"quay"}]}')).toContain('patched');
    expect(await linked()).toBe('hub');
    expect(await kubectl('get sa')).toMatch(/^NAME +SECRETS +AGE\nrobot +1 +\S+\n$/);
    expect(await kubectl('delete sa robot')).toContain('serviceaccount "robot" deleted');
  });

  it('is told who it is not', async () => {
    expect(await kubectl('get is --as=eve')).toContain(
      'Error from server (Forbidden): imagestreams.image.openshift.io is forbidden: User "eve" cannot list',
    );
  });
});
